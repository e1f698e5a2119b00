{{ config(materialized='table') }}
select iso, count(*) as hubs, avg(price) as price
from {{ ref('hubs') }}
group by iso
