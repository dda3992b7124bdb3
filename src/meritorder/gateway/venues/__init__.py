"""Where requests run and how much may run there: venues, engines, headroom, the plan in force."""
