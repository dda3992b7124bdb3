"""Quotas of keys, shared by all gateways: budgets with what is spent and reserved, and the last minute of rates."""
