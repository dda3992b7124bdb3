"""Clients of engines, providers and their batch APIs, each behind one interface."""
