"""The sections of `gateway.yaml`, one idea a file. Field docstrings become the reference and the schema."""
