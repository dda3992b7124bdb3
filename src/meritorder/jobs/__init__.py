"""Jobs: files of any size through Ray Data, row by row, to OpenAI-compatible endpoints."""
