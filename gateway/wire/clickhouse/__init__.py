"""The ClickHouse HTTP wire: requests understood and built anew, answers relayed byte for byte."""
