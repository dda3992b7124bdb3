"""Fleets for a trace: requests with their workloads, candidate machines, simulation, search."""
