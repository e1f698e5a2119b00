-- Customers who bought in all three channels in the same quarter.
WITH store AS (
  SELECT DISTINCT ss_customer_sk AS customer, d_qoy AS quarter
  FROM tpcds.sf1.store_sales JOIN tpcds.sf1.date_dim ON ss_sold_date_sk = d_date_sk WHERE d_year = 2001
), web AS (
  SELECT DISTINCT ws_bill_customer_sk AS customer, d_qoy AS quarter
  FROM tpcds.sf1.web_sales JOIN tpcds.sf1.date_dim ON ws_sold_date_sk = d_date_sk WHERE d_year = 2001
), catalog AS (
  SELECT DISTINCT cs_bill_customer_sk AS customer, d_qoy AS quarter
  FROM tpcds.sf1.catalog_sales JOIN tpcds.sf1.date_dim ON cs_sold_date_sk = d_date_sk WHERE d_year = 2001
), loyal AS (
  SELECT customer, quarter FROM store INTERSECT SELECT customer, quarter FROM web
  INTERSECT SELECT customer, quarter FROM catalog
)
SELECT ca.ca_state, l.quarter, count(*) AS customers,
       array_agg(DISTINCT c.c_preferred_cust_flag) AS flags,
       sum(count(*)) OVER (PARTITION BY l.quarter) AS all_states
FROM loyal l
JOIN tpcds.sf1.customer c ON c.c_customer_sk = l.customer
JOIN tpcds.sf1.customer_address ca ON ca.ca_address_sk = c.c_current_addr_sk
GROUP BY ca.ca_state, l.quarter
ORDER BY 3 DESC, 1
