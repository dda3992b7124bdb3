"""Long-lived tasks: dispatch, provider batches, batch input and output, maintenance."""
