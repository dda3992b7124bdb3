"""Posts of JSON to endpoints, and their answers as they arrive."""
