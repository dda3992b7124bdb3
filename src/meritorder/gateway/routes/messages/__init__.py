"""Anthropic's Messages API over the gateway's own: messages, streams and batches, for Anthropic's clients."""
