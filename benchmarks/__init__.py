"""Measures the gateway beside a direct connection and its peers: `python -m benchmarks` (see README.md)."""
