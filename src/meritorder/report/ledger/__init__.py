"""What was or would be paid, and for what, as text and as a page."""
