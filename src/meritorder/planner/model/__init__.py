"""What is planned: demand, supply and the problem they make; its variables and constraints as a linear program."""
