"""The plan in force: read, matched to the venues, carried out, reloaded and shown."""
