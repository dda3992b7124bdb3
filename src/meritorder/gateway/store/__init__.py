"""Persistent state: files, batches, requests, answers, keys and the ledger; on SQLite or PostgreSQL."""
