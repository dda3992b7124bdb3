"""Fit a performance profile to measured requests."""
