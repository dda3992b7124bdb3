"""The answer of `audit` in a terminal, as JSON, as CSV and as one HTML file."""
