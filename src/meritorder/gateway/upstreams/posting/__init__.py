"""Posts of JSON to venues, and their answers as they arrive."""
