"""Where a statement can run: groups of backends, routing rules, and (later) regions and sovereignty."""
