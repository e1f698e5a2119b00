"""Equivalent, cheaper sources for what the statement reads."""
