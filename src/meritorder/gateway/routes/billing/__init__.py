"""What batches and requests cost: quotes before, receipts after."""
