"""Composition root: the only place that knows every part. Builds, starts, reloads, drains, stops."""
