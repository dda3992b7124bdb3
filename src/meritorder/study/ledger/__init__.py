"""What was paid, and for which requests, from attempts and paid capacity."""
