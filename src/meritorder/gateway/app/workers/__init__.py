"""A gateway of several processes on one machine: `meritorder serve --workers N`."""
