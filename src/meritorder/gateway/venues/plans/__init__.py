"""The plan in force: read, matched to the venues, executed, reloaded and shown."""
