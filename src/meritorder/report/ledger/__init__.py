"""What was paid, and for what, as text and as a page."""
