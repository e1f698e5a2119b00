-- Three sales channels beside each other, with year-over-year growth.
WITH sales AS (
  SELECT 'store' AS channel, d.d_year AS year, d.d_moy AS month, i.i_category AS category,
         ss.ss_ext_sales_price AS price, ss.ss_net_profit AS profit
  FROM tpcds.sf1.store_sales ss
  JOIN tpcds.sf1.date_dim d ON ss.ss_sold_date_sk = d.d_date_sk
  JOIN tpcds.sf1.item i ON ss.ss_item_sk = i.i_item_sk
  WHERE d.d_year BETWEEN 1999 AND 2001
  UNION ALL
  SELECT 'web', d.d_year, d.d_moy, i.i_category, ws.ws_ext_sales_price, ws.ws_net_profit
  FROM tpcds.sf1.web_sales ws
  JOIN tpcds.sf1.date_dim d ON ws.ws_sold_date_sk = d.d_date_sk
  JOIN tpcds.sf1.item i ON ws.ws_item_sk = i.i_item_sk
  WHERE d.d_year BETWEEN 1999 AND 2001
  UNION ALL
  SELECT 'catalog', d.d_year, d.d_moy, i.i_category, cs.cs_ext_sales_price, cs.cs_net_profit
  FROM tpcds.sf1.catalog_sales cs
  JOIN tpcds.sf1.date_dim d ON cs.cs_sold_date_sk = d.d_date_sk
  JOIN tpcds.sf1.item i ON cs.cs_item_sk = i.i_item_sk
  WHERE d.d_year BETWEEN 1999 AND 2001
),
monthly AS (
  SELECT channel, category, year, month, sum(price) AS revenue, sum(profit) AS profit, count(*) AS lines
  FROM sales
  GROUP BY channel, category, year, month
)
SELECT a.channel, a.category, a.year, a.month, a.revenue,
       a.revenue / nullif(b.revenue, 0) - 1 AS growth,
       sum(a.revenue) OVER (PARTITION BY a.channel, a.category, a.year ORDER BY a.month
                            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS year_to_date,
       rank() OVER (PARTITION BY a.channel, a.year, a.month ORDER BY a.revenue DESC) AS place
FROM monthly a
LEFT JOIN monthly b
  ON a.channel = b.channel AND a.category = b.category AND a.month = b.month AND a.year = b.year + 1
WHERE a.profit > 0 AND a.category IN ('Books', 'Home', 'Electronics', 'Jewelry', 'Sports')
ORDER BY a.channel, a.category, a.year, a.month
LIMIT 500
