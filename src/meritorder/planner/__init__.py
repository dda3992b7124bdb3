"""The planner: the cheapest way to serve a demand, as a mixed-integer linear program, and a lower bound on its cost."""
