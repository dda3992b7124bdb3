"""The cheapest plan of a trace that keeps every promise in simulation."""
