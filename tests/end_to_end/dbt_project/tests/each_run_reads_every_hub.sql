select run, count(*) as hubs
from {{ ref('readings') }}
group by run
having count(*) <> 4
