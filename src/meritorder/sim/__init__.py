"""Requests through a fleet of replicas: arrays in, timings out."""
