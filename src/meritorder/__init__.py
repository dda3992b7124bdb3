"""Meritorder: serve every LLM request from the cheapest capacity that still meets its deadline."""

__version__ = "0.1.0"
