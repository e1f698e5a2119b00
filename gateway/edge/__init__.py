"""Around `decide`: authenticate, decide (with probes), admit, settle. All I/O of a request is here."""
