"""The engines as the gateway itself uses them: health, metadata, probes, KILL."""
