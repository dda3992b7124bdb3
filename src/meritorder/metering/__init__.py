"""What paid capacity cost and the share of each attempt, in exact picodollars."""
