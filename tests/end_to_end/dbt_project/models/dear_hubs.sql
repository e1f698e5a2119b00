{{ config(materialized='view') }}
select hub, price from {{ ref('hubs') }} where price > 45
