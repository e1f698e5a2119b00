-- Customers whose returns are far over the average of their state.
WITH returned AS (
  SELECT sr.sr_customer_sk AS customer, s.s_state AS state, sum(sr.sr_return_amt) AS amount
  FROM tpcds.sf1.store_returns sr
  JOIN tpcds.sf1.date_dim d ON sr.sr_returned_date_sk = d.d_date_sk
  JOIN tpcds.sf1.store s ON sr.sr_store_sk = s.s_store_sk
  WHERE d.d_year = 2000
  GROUP BY sr.sr_customer_sk, s.s_state
)
SELECT c.c_customer_id, c.c_first_name, c.c_last_name, ca.ca_city, r.state, r.amount
FROM returned r
JOIN tpcds.sf1.customer c ON c.c_customer_sk = r.customer
JOIN tpcds.sf1.customer_address ca ON ca.ca_address_sk = c.c_current_addr_sk
WHERE r.amount > (SELECT avg(o.amount) * 1.2 FROM returned o WHERE o.state = r.state)
  AND ca.ca_country = 'United States'
  AND NOT EXISTS (
    SELECT 1 FROM tpcds.sf1.catalog_returns cr
    WHERE cr.cr_refunded_customer_sk = c.c_customer_sk AND cr.cr_return_amount > 500)
ORDER BY r.amount DESC, c.c_customer_id
LIMIT 100
