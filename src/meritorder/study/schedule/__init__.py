"""The schedule of machines with hindsight: demand and supply of a trace as a linear program, solved and simulated."""
