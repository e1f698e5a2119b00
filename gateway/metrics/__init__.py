"""Governed metrics to SQL."""
