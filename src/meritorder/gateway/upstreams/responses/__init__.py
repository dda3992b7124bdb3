"""The Responses API on venues that lack it: requests become chat completions, and their answers responses."""
