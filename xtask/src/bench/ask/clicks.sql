-- 1 events by name
SELECT event_name, count(*) AS events FROM clicks GROUP BY event_name ORDER BY events DESC;
-- 2 events by day and name
SELECT substr("timestamp", 1, 10) AS day, event_name, count(*) AS events FROM clicks GROUP BY 1, 2 ORDER BY 1, 2;
-- 3 top products
SELECT additional_data.product_id AS product, max(additional_data.price) AS price, count(*) AS purchases
FROM clicks WHERE event_name = 'Purchase' GROUP BY 1 ORDER BY purchases DESC, product LIMIT 10;
-- 4 revenue by hour
SELECT substr("timestamp", 1, 13) AS hour, count(*) AS purchases, sum(additional_data.price) AS revenue
FROM clicks WHERE event_name = 'Purchase' GROUP BY 1 ORDER BY 1;
-- 5 engaged users
SELECT user_id, max(additional_data.percent_viewed) AS furthest, count(*) AS times
FROM clicks WHERE event_name = 'ViewContent' AND additional_data.percent_viewed > 60
GROUP BY user_id ORDER BY times DESC, user_id LIMIT 10;
-- 6 users by day
SELECT substr("timestamp", 1, 10) AS day, count(DISTINCT user_id) AS users FROM clicks GROUP BY 1 ORDER BY 1;
-- 7 addresses by name
SELECT event_name, count(DISTINCT user_ip) AS addresses FROM clicks GROUP BY 1 ORDER BY 1;
-- 8 who bought what they viewed
SELECT b.day, count(*) AS bought
FROM (SELECT DISTINCT substr("timestamp", 1, 10) AS day, user_id, additional_data.product_id AS product
      FROM clicks WHERE event_name = 'Purchase') AS b
JOIN (SELECT DISTINCT substr("timestamp", 1, 10) AS day, user_id, additional_data.product_id AS product
      FROM clicks WHERE event_name = 'AddToCart') AS a
  ON a.day = b.day AND a.user_id = b.user_id AND a.product = b.product
GROUP BY b.day ORDER BY b.day;
-- 9 hours of one day
SELECT substr("timestamp", 1, 13) AS hour, count(*) AS events, count(DISTINCT user_id) AS users
FROM clicks WHERE "timestamp" >= '2026-01-03' AND "timestamp" < '2026-01-04' GROUP BY 1 ORDER BY 1;
-- 10 one click
SELECT * FROM clicks WHERE click_id = '{click}';
-- 11 latest events of one user
SELECT "timestamp", event_name, additional_data.product_id FROM clicks WHERE user_id = '4711' ORDER BY "timestamp" DESC LIMIT 20;
-- 12 dear products watched long
SELECT additional_data.product_id AS product, avg(additional_data.time_on_data) AS seconds, count(*) AS views
FROM clicks WHERE additional_data.price > 890 AND additional_data.time_on_data BETWEEN 120 AND 300
GROUP BY 1 HAVING count(*) > 100 ORDER BY seconds DESC, product LIMIT 20;
