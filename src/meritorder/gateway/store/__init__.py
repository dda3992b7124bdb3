"""What is kept: files, batches, requests that wait, answers, keys, and the ledger; on SQLite or PostgreSQL."""
