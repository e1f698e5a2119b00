"""Governance: scopes, row filters, masks, purposes. Its two stages frame the middle of the pipeline."""
