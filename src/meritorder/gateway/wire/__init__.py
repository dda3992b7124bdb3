"""OpenAI's forms: what comes in over HTTP, and what goes out."""
