"""The control plane: files, batches, models, stored answers and operations."""
