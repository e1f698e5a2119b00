"""The SQL engine room: bounds, parsing, references, substitution, emission, fingerprints.

Everything here is pure. A statement goes `guard` -> `classify` or `parse` -> `references` ->
`substitute` -> `emit`; `stage` wraps these as pipeline stages.
"""
