-- What did visitors do?
SELECT event_name, count(*) AS events
FROM clicks
GROUP BY event_name
ORDER BY events DESC;
