-- Who watched past 60 % of a product most often?
SELECT user_id,
       max(additional_data.percent_viewed) AS furthest_percent,
       count(*) AS times
FROM clicks
WHERE event_name = 'ViewContent' AND additional_data.percent_viewed > 60
GROUP BY user_id
ORDER BY times DESC, user_id
LIMIT 10;
