"""Readers of request traces: one a format, all to the REQUESTS schema."""
