"""What clients retrieve later: stored responses and completions, and conversations."""
