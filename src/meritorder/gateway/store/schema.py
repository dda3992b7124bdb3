"""The tables. Times are epoch seconds, money is in picodollars: exact, and summed by the database.

States of a request, each arrow one transaction:

    queued ──claim──► running ──store_all─────► done | failed
      ▲                  │
      └──requeue, or ────┘         when its batch expires or is cancelled, a queued request keeps its state and a
         its owner expired         running one becomes `ended`; the batch's files report it, then the rows are deleted

States of a batch are those of OpenAI's API; `finalizing` leads to the state in `ending`.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite autoincrements INTEGER keys only.
_SEQ: Final = BigInteger().with_variant(Integer, "sqlite")


def _seq() -> Column[int]:
    return Column("seq", _SEQ, primary_key=True, autoincrement=True)


KEYS: Final = Table(
    "keys",
    METADATA,
    _seq(),
    Column("id", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("read_only", Boolean, nullable=False, server_default=false()),
    Column("deadline", Text),  # default deadline of its calls, such as "4h"
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("team", Text),
    Column("created_s", Float, nullable=False),
    Column("revoked_s", Float),
    sqlite_autoincrement=True,
)

# Budgets of keys and teams, with what was spent in the current period.
BUDGETS: Final = Table(
    "budgets",
    METADATA,
    Column("id", String(96), primary_key=True),  # the id of a key, or `team:NAME`
    Column("amount_picousd", BigInteger, nullable=False),
    Column("period", Text),  # hour, day, week or month; null for a total
    Column("time_zone", Text, nullable=False),
    Column("soft_share", Float),  # share of the budget that is announced when it is spent
    Column("webhook", Text),  # receiver of that event; null for all of the tenant's
    Column("tenant", Text),  # whose receivers get the event; null for a team
    Column("period_start_s", Float, nullable=False),
    Column("spent_picousd", BigInteger, nullable=False),
    Column("exhausted_s", Float),  # since when nothing is left
    Column("announced_s", Float),  # start of the period in which the soft limit was announced
)

# Parts of a budget that a gateway or a provider batch may spend; void when their holder is gone.
BUDGET_LEASES: Final = Table(
    "budget_leases",
    METADATA,
    Column("budget_id", String(96), primary_key=True),
    Column("holder", String(64), primary_key=True),
    Column("amount_picousd", BigInteger, nullable=False),
)

# Rate limits of teams; those of keys are in their rows.
TEAM_RATES: Final = Table(
    "team_rates",
    METADATA,
    Column("id", String(96), primary_key=True),  # `team:NAME`
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
)

# Requests and tokens of a key or a team in the last minute.
RATE_WINDOWS: Final = Table(
    "rate_windows",
    METADATA,
    Column("id", String(96), primary_key=True),  # the id of a key, or `team:NAME`
    Column("buckets", LargeBinary, nullable=False),
)

FILES: Final = Table(
    "files",
    METADATA,
    _seq(),
    Column("id", String(96), nullable=False),
    Column("tenant", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("blob", Text, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("expires_s", Float),
    Column("deleted_s", Float),  # the blob remains while a batch reads it
    UniqueConstraint("tenant", "id"),
    Index(None, "tenant", "seq"),
    sqlite_autoincrement=True,
)

# Blobs that are being written, so that they can be deleted if that does not end with a file.
UPLOADS: Final = Table(
    "uploads",
    METADATA,
    Column("blob", String(160), primary_key=True),
    Column("owner", Text),  # the gateway that writes it; null if it has failed
)

# Queries repeat it, for SQLite to use the index.
OPEN_BATCH: Final = text("status IN ('validating', 'in_progress', 'cancelling', 'finalizing')")

BATCHES: Final = Table(
    "batches",
    METADATA,
    _seq(),
    Column("id", String(96), nullable=False),
    Column("tenant", Text, nullable=False),
    Column("key_id", Text),
    Column("endpoint", Text, nullable=False),
    Column("completion_window", Text, nullable=False),
    Column("input_file_id", Text, nullable=False),
    Column("output_file_id", Text),
    Column("error_file_id", Text),
    Column("status", Text, nullable=False),
    Column("ending", Text),  # the state after finalizing: completed, expired or cancelled
    Column("model", Text),
    Column("metadata", Text),
    Column("errors", Text),
    Column("output_expires_after_s", Float),
    Column("trace", Text),  # the span in which it was submitted, as a W3C traceparent
    Column("created_s", Float, nullable=False),
    Column("expires_s", Float, nullable=False),
    Column("in_progress_s", Float),
    Column("finalizing_s", Float),
    Column("completed_s", Float),
    Column("failed_s", Float),
    Column("expired_s", Float),
    Column("cancelling_s", Float),
    Column("cancelled_s", Float),
    Column("paused_s", Float),
    Column("owner", Text),  # the gateway that reads its input or writes its output
    Column("input_state", LargeBinary),  # how far its input was read, and what was found so far
    Column("total", Integer, nullable=False, server_default="0"),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("queued_tokens", BigInteger, nullable=False, server_default="0"),  # estimated, of unanswered requests
    Column("input_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("output_tokens", BigInteger, nullable=False, server_default="0"),
    Column("reasoning_tokens", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("tenant", "id"),
    Index(None, "tenant", "seq"),
    Index(
        "ix_batches_open",
        "status",
        "seq",
        sqlite_where=OPEN_BATCH,
        postgresql_where=OPEN_BATCH,
    ),
    Index(
        "ix_batches_due",
        "expires_s",
        sqlite_where=text("status = 'in_progress'"),
        postgresql_where=text("status = 'in_progress'"),
    ),
    Index(
        "ix_batches_due_of_tenant",
        "tenant",
        "expires_s",
        sqlite_where=text("status = 'in_progress'"),
        postgresql_where=text("status = 'in_progress'"),
    ),
    sqlite_autoincrement=True,
)

REQUESTS: Final = Table(
    "requests",
    METADATA,
    _seq(),
    Column("batch_seq", _SEQ, ForeignKey("batches.seq")),  # null for a single call
    Column("line", Integer, nullable=False, server_default="0"),
    Column("id", String(96)),  # of a single call
    Column("tenant", Text, nullable=False),
    Column("key_id", Text),
    Column("custom_id", Text),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("body_at", BigInteger),  # offset in the batch's input file
    Column("body_bytes", BigInteger, nullable=False),
    Column("body", LargeBinary),  # of a single call
    Column("input_tokens", Integer, nullable=False),  # estimated
    Column("output_tokens", Integer, nullable=False),  # upper limit
    Column("workload", Text),  # the workload of a single call
    Column("trace", Text),  # the span in which it was submitted, as a W3C traceparent
    Column("prefix", BigInteger, nullable=False),  # equal for prompts that start alike
    Column("arrived_s", Float, nullable=False),
    Column("deadline_s", Float, nullable=False),
    Column("not_before_s", Float, nullable=False, server_default="0"),
    Column("state", String(16), nullable=False),
    Column("owner", Text),
    Column("holder", Text),  # the gateway whose client waits for the answer
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("faults", Integer, nullable=False, server_default="0"),
    Column(
        "lost_tokens", BigInteger, nullable=False, server_default="0"
    ),  # generated by earlier attempts and discarded
    Column("lost_attempts", Integer, nullable=False, server_default="0"),  # whose gateway was gone: tokens are unknown
    Column("expected_picousd", BigInteger, nullable=False, server_default="0"),  # the most that it is expected to cost
    UniqueConstraint("batch_seq", "line"),
    Index(
        "ix_requests_queued",
        "batch_seq",
        "prefix",
        "seq",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "ix_requests_alone",
        "deadline_s",
        sqlite_where=text("state = 'queued' AND batch_seq IS NULL"),
        postgresql_where=text("state = 'queued' AND batch_seq IS NULL"),
    ),
    Index(
        "ix_requests_promised",
        "key_id",
        sqlite_where=text("state = 'queued' AND batch_seq IS NULL"),
        postgresql_where=text("state = 'queued' AND batch_seq IS NULL"),
    ),
    Index(
        "ix_requests_running",
        "owner",
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
    Index(
        "ix_requests_holder",
        "holder",
        sqlite_where=text("holder IS NOT NULL"),
        postgresql_where=text("holder IS NOT NULL"),
    ),
    Index("ix_requests_id", "id", sqlite_where=text("id IS NOT NULL"), postgresql_where=text("id IS NOT NULL")),
    sqlite_autoincrement=True,
)

# Provider batches. Their requests are `running` and owned by the provider batch, which outlives the gateway that
# created it, so that no gateway runs them while the provider does.
PROVIDER_BATCHES: Final = Table(
    "chunks",
    METADATA,
    _seq(),
    Column("id", String(26), nullable=False, unique=True),
    Column("venue", Text, nullable=False),
    Column("batch_seq", _SEQ, ForeignKey("batches.seq"), nullable=False),
    Column("provider_id", Text),  # null if not known to be submitted
    Column("created_s", Float, nullable=False),
    Column("sent_s", Float),  # when it was first sent to the provider; null if never
    Column("cancelled", Boolean, nullable=False, server_default="0"),  # whether the provider was asked to cancel it
    Column("owner", Text),  # the gateway that polls it
    sqlite_autoincrement=True,
)

# How long the latest batches of each provider took.
TURNAROUNDS: Final = Table(
    "turnarounds",
    METADATA,
    _seq(),
    Column("venue", Text, nullable=False),
    Column("turnaround_s", Float, nullable=False),
    sqlite_autoincrement=True,
)

ANSWERS: Final = Table(
    "answers",
    METADATA,
    # The primary key ensures that an answer is stored once.
    Column("request_seq", _SEQ, ForeignKey("requests.seq"), primary_key=True, autoincrement=False),
    Column("request_id", Text, nullable=False),
    Column("status_code", Integer),
    Column("body", LargeBinary),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("venue", Text),
    Column("answered_s", Float, nullable=False),
)

STORED_ANSWERS: Final = Table(
    "kept",
    METADATA,
    _seq(),
    Column("id", String(96), nullable=False),
    Column("kind", String(16), nullable=False),  # response, completion
    Column("tenant", Text, nullable=False),
    Column("model", Text),
    Column("status", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
    Column("metadata", Text),
    Column("created_s", Float, nullable=False),
    Column("request_seq", _SEQ),
    UniqueConstraint("tenant", "kind", "id"),
    Index(None, "tenant", "kind", "seq"),
    sqlite_autoincrement=True,
)

LEDGER: Final = Table(
    "ledger",
    METADATA,
    _seq(),
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
    Column("request_seq", _SEQ),  # of a deferrable request: the same for all of its attempts
    Column("batch_seq", _SEQ),
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
    sqlite_autoincrement=True,
)

# Days whose costs are summed in `daily_costs`; a row that comes later removes its days, to be summed again.
LEDGER_DAYS: Final = Table(
    "ledger_days",
    METADATA,
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since the epoch, UTC
    Column("sealed_seq", _SEQ),  # the rows up to it may be deleted: the sums stay as they are
)

# What was paid in each day and for what, to the picodollar, with the attempts that ended in it.
DAILY_COSTS: Final = Table(
    "daily_costs",
    METADATA,
    _seq(),
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

# What a finished batch cost, signed; once it is there it does not change.
RECEIPTS: Final = Table(
    "receipts",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("batch_id", String(96), primary_key=True),
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

LEDGER_REJECTED: Final = Table(
    "ledger_rejected",
    METADATA,
    _seq(),
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

INSTANCES: Final = Table(
    "instances",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("alive_until_s", Float, nullable=False),
)

WEBHOOKS: Final = Table(
    "webhooks",
    METADATA,
    _seq(),
    Column("id", String(96), nullable=False, unique=True),
    Column("body", LargeBinary, nullable=False),
    Column("url", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("not_before_s", Float, nullable=False),
    sqlite_autoincrement=True,
)
