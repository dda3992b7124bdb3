"""How fast a replica serves: measured step times as compact tables."""
