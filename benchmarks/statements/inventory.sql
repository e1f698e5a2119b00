-- Warehouses whose stock moved most around a date.
SELECT w.w_warehouse_name, i.i_item_id,
       sum(CASE WHEN d.d_date < DATE '2000-03-11' THEN inv.inv_quantity_on_hand ELSE 0 END) AS before,
       sum(CASE WHEN d.d_date >= DATE '2000-03-11' THEN inv.inv_quantity_on_hand ELSE 0 END) AS after,
       lag(sum(inv.inv_quantity_on_hand)) OVER (PARTITION BY i.i_item_id ORDER BY w.w_warehouse_name) AS last
FROM tpcds.sf1.inventory inv
JOIN tpcds.sf1.warehouse w ON inv.inv_warehouse_sk = w.w_warehouse_sk
JOIN tpcds.sf1.item i ON i.i_item_sk = inv.inv_item_sk AND i.i_current_price BETWEEN 0.99 AND 1.49
JOIN tpcds.sf1.date_dim d ON inv.inv_date_sk = d.d_date_sk
  AND d.d_date BETWEEN DATE '2000-03-11' - INTERVAL '30' DAY AND DATE '2000-03-11' + INTERVAL '30' DAY
GROUP BY w.w_warehouse_name, i.i_item_id
HAVING sum(CASE WHEN d.d_date < DATE '2000-03-11' THEN inv.inv_quantity_on_hand ELSE 0 END) > 0
ORDER BY w.w_warehouse_name, i.i_item_id
LIMIT 100
