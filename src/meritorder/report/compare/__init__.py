"""A comparison and a sweep in a terminal, as JSON and as one HTML file."""
