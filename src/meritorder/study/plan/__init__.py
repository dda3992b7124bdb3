"""The cheapest plan for a trace: supply and demand in, a plan that was simulated out."""
