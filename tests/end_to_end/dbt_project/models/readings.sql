{{ config(materialized='incremental', incremental_strategy='append', order_by='run') }}
select hub, price, {{ var('run') }} as run
from {{ ref('hubs') }}
{% if is_incremental() %}
where {{ var('run') }} > (select max(run) from {{ this }})
{% endif %}
