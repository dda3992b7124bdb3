"""What is overpaid for inference, from the bill: findings, missing inputs, and dollars per request."""
