"""The service: built from its settings, run, administered."""
