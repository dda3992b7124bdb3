"""The OpenAI wire format: calls, streams, objects and errors."""
