"""Records that pass between packages and to files: answers, plans, findings, costs, and what they rest on."""
