"""Metrics of machines beside a bill."""
