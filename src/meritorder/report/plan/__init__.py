"""A plan in a terminal and as one HTML file."""
