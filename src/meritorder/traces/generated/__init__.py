"""Traces that are generated: a sample week, and traffic by its shape."""
