"""Commands that run a gateway, its pages and its autopilot, and those that administer it."""
