"""How it is solved: relaxation, whole machines by rounding and search, and lower bounds on the cost of any plan."""
