"""What the store keeps of money: the ledger, its sums by day and its journals, paid capacity, receipts and quotes."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, String, Table, Text, text

from meritorder.gateway.store.schema.metadata import METADATA, SEQ, seq

LEDGER: Final = Table(
    "ledger",
    METADATA,
    seq(),
    Column("request_id", Text, nullable=False),
    Column("arrived_s", Float, nullable=False),
    Column("started_s", Float),
    Column("ended_s", Float, nullable=False),
    Column("ttft_s", Float),
    Column("lane", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("key_id", Text),
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("venue", Text),
    Column("batch_id", Text),
    Column("workload", Text),
    Column("deadline_s", Float),
    Column("status_code", Integer),
    Column("input_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("lost_tokens", Integer, nullable=False),  # generated and discarded by preemption
    Column("counted", Boolean, nullable=False),  # whether the venue reported the tokens; else estimated
    Column("cost_picousd", BigInteger),  # null if the venue has no price
    Column("request_seq", SEQ),  # of a deferrable request: the same for all of its attempts
    Column("batch_seq", SEQ),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("replica", Text),  # of the paid capacity on which it ran
    Column("outcome", String(16)),  # answered, failed, cut_off; preempted, retried, superseded: not of the request
    Column("reasoning_tokens", Integer, nullable=False, server_default="0"),
    Column("price_basis", String(16)),  # tokens, batch_tokens, machine; null without a price
    Index(None, "key_id", "arrived_s"),
    Index(None, "ended_s", "started_s"),
    Index(
        "ix_ledger_batch",
        "batch_seq",
        sqlite_where=text("batch_seq IS NOT NULL"),
        postgresql_where=text("batch_seq IS NOT NULL"),
    ),
    Index(
        "ix_ledger_request",
        "request_id",
        sqlite_where=text("batch_seq IS NULL"),
        postgresql_where=text("batch_seq IS NULL"),
    ),
    sqlite_autoincrement=True,
)

# Days whose costs are summed in `daily_costs`; a row that comes later removes its days, to be summed again.
LEDGER_DAYS: Final = Table(
    "ledger_days",
    METADATA,
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since the epoch, UTC
    Column("sealed_seq", SEQ),  # the rows up to it may be deleted: the sums stay as they are
)

# What was paid in each day and for what, to the picodollar, with the attempts that ended in it.
DAILY_COSTS: Final = Table(
    "daily_costs",
    METADATA,
    seq(),
    Column("day", Integer, nullable=False),
    Column("tenant", Text),  # null, as all that follows but the venue, for what belongs to no attempt
    Column("key_id", Text),
    Column("workload", Text),
    Column("lane", Text),
    Column("model", Text),
    Column("venue", Text),
    Column("use", String(24), nullable=False),
    Column("paid_picousd", BigInteger, nullable=False),
    Column("cost_picousd", BigInteger, nullable=False),  # as the rows have it
    Column("requests", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("unpaid", BigInteger, nullable=False),  # attempts that nothing was paid for
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("lost_tokens", BigInteger, nullable=False),
    Column("kept", BigInteger, nullable=False),  # deadlines
    Column("missed", BigInteger, nullable=False),
    Index(None, "day"),
    sqlite_autoincrement=True,
)

LEDGER_REJECTED: Final = Table(
    "ledger_rejected",
    METADATA,
    seq(),
    Column("entry", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_autoincrement=True,
)

# How much of each journal of ledger entries is in the ledger; written in the transaction that adds the rows.
JOURNALS: Final = Table(
    "journals",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("position", BigInteger, nullable=False),
)

# What was rented and paid for by time: each start of a replica, and each commitment of the configuration.
CAPACITY: Final = Table(
    "capacity",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),  # replica, commitment
    Column("venue", Text, nullable=False),
    Column("replica", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("pricing_model", String(32), nullable=False),
    Column("picousd_per_hour", BigInteger, nullable=False),  # in force from the start to the end
    Column("minimum_billing_s", Float, nullable=False),
    Column("started_s", Float, nullable=False),
    Column("ready_s", Float),
    Column("seen_s", Float, nullable=False),  # when its gateway last saw it: its end, if that gateway was killed
    Column("stopped_s", Float),
)

# What a finished batch, or a request outside batches, cost, signed; once it is there it does not change.
RECEIPTS: Final = Table(
    "receipts",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("subject_id", String(96), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("created_s", Float, nullable=False),
)

# Prices that batches were offered before they ran, and the batches that took them.
QUOTES: Final = Table(
    "quotes",
    METADATA,
    Column("id", String(96), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("input_file_id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("valid_until_s", Float, nullable=False),
    Column("batch_id", String(96)),  # the batch that uses it
    Column("key_id", Text),  # the key of that batch
    Column("quoted_picousd", BigInteger),  # what that batch was quoted
    Column("honored", Boolean, nullable=False),  # whether it is charged that
    Column("paid_picousd", BigInteger),  # what it cost; null until it is settled
    Column("charged_picousd", BigInteger),  # what it is charged
    Column("adjusted_picousd", BigInteger),  # what the budgets of its key were charged beside its ledger rows
    Column("settled_s", Float),
    Index("ix_quotes_batch", "tenant", "batch_id"),
)
