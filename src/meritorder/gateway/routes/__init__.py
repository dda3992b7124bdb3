"""The control plane: files, batches, models and what is kept of answers, as OpenAI's paths."""
