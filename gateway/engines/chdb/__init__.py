"""chdb (ClickHouse in a library) as a child process that answers ClickHouse's HTTP interface on a socket."""
