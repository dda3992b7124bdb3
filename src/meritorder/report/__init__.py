"""Numbers to text, figures and HTML."""
