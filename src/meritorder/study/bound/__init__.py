"""Lower bounds on the cost of any policy that keeps the promises of a load."""
