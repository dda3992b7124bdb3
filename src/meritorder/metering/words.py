"""Words of ledger rows and capacity records: how an attempt ended, what its price is based on, what is paid for."""

from typing import Final

PREEMPTED: Final = "preempted"
RETRIED: Final = "retried"
SUPERSEDED: Final = "superseded"  # by the answer of another attempt
NOT_FINAL: Final = (PREEMPTED, RETRIED, SUPERSEDED)
"""Outcomes of attempts that do not end their request."""

# What the price of an attempt is based on.
TOKENS: Final = "tokens"
BATCH_TOKENS: Final = "batch_tokens"
MACHINE: Final = "machine"

# What a capacity record is of.
REPLICA: Final = "replica"
COMMITMENT: Final = "commitment"
