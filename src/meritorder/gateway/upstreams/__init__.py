"""Where requests run: engines, providers and their batch APIs, each behind one interface."""
