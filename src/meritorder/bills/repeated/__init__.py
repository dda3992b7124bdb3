"""Money that files state more than once."""
