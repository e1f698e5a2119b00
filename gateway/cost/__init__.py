"""What the statement will cost, with a bound and its basis."""
