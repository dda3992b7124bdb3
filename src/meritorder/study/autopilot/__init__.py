"""The loop that plans again: observe the ledger, weigh plans, apply within budgets, and record each decision."""
