"""Fleets for a trace: requests with their promises, candidate machines, simulation, search."""
