"""The planner: the cheapest way to serve a demand, as a mixed-integer linear program, with a lower bound on its cost."""
