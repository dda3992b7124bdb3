"""The queue: batches, their requests and single calls, provider batches, and answers."""
