-- What did we earn in each hour?
SELECT date_trunc('hour', CAST("timestamp" AS timestamp)) AS hour,
       count(*) AS purchases,
       round(sum(additional_data.price), 2) AS revenue
FROM clicks
WHERE event_name = 'Purchase'
GROUP BY hour
ORDER BY hour;
