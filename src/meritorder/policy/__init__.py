"""Decisions as pure functions, called by the simulator and by the gateway alike."""
