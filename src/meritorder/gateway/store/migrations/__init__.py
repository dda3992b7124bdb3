"""The versions of the store's tables. A new one: alter `schema.py`, then write the next file in `versions`."""
