"""The OpenAI-compatible HTTP service: runs requests by lane, deadline and plan."""
