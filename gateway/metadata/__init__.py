"""What exists: relations, columns, types, view texts. Loaded in the background, probed on a miss."""
