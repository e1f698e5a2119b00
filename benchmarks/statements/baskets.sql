-- What is bought together on week days, by demography of the household.
SELECT hd.hd_buy_potential, cd.cd_education_status, i.i_class,
       count(DISTINCT ss.ss_ticket_number) AS tickets,
       avg(ss.ss_quantity) AS quantity,
       approx_percentile(ss.ss_ext_sales_price, 0.9) AS p90,
       sum(CASE WHEN t.t_hour BETWEEN 6 AND 11 THEN ss.ss_net_paid ELSE 0 END) AS morning,
       sum(CASE WHEN t.t_hour BETWEEN 12 AND 17 THEN ss.ss_net_paid ELSE 0 END) AS afternoon,
       sum(CASE WHEN t.t_hour > 17 THEN ss.ss_net_paid ELSE 0 END) AS evening,
       max_by(i.i_product_name, ss.ss_ext_sales_price) AS dearest
FROM tpcds.sf1.store_sales ss, tpcds.sf1.household_demographics hd, tpcds.sf1.customer_demographics cd,
     tpcds.sf1.item i, tpcds.sf1.time_dim t, tpcds.sf1.date_dim d, tpcds.sf1.promotion p
WHERE ss.ss_hdemo_sk = hd.hd_demo_sk AND ss.ss_cdemo_sk = cd.cd_demo_sk AND ss.ss_item_sk = i.i_item_sk
  AND ss.ss_sold_time_sk = t.t_time_sk AND ss.ss_sold_date_sk = d.d_date_sk AND ss.ss_promo_sk = p.p_promo_sk
  AND d.d_day_name NOT IN ('Saturday', 'Sunday') AND (p.p_channel_email = 'N' OR p.p_channel_event = 'N')
  AND cd.cd_gender = 'F' AND cd.cd_marital_status IN ('M', 'S', 'D') AND hd.hd_dep_count >= 2
GROUP BY GROUPING SETS ((hd.hd_buy_potential, cd.cd_education_status, i.i_class),
                        (hd.hd_buy_potential, i.i_class), (i.i_class), ())
HAVING count(*) > 10
ORDER BY tickets DESC
LIMIT 200
