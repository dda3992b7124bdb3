"""What traffic in a few numbers costs, and the cheapest way for one job, with the use cases of a trace."""
