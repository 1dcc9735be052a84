-- Which ten products were bought most?
SELECT additional_data.product_id AS product,
       max(additional_data.price) AS price,
       count(*) AS purchases
FROM clicks
WHERE event_name = 'Purchase'
GROUP BY product
ORDER BY purchases DESC, product
LIMIT 10;
