"""Files, batches, requests and their answers.

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
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from meritorder.gateway.store.schema.metadata import METADATA, SEQ, seq

FILES: Final = Table(
    "files",
    METADATA,
    seq(),
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
    seq(),
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
    Column("limit_tokens", BigInteger, nullable=False, server_default="0"),  # the most that its requests may generate
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
    seq(),
    Column("batch_seq", SEQ, ForeignKey("batches.seq")),  # null for a single call
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
    seq(),
    Column("id", String(26), nullable=False, unique=True),
    Column("venue", Text, nullable=False),
    Column("batch_seq", SEQ, ForeignKey("batches.seq"), nullable=False),
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
    seq(),
    Column("venue", Text, nullable=False),
    Column("turnaround_s", Float, nullable=False),
    sqlite_autoincrement=True,
)

ANSWERS: Final = Table(
    "answers",
    METADATA,
    # The primary key ensures that an answer is stored once.
    Column("request_seq", SEQ, ForeignKey("requests.seq"), primary_key=True, autoincrement=False),
    Column("request_id", Text, nullable=False),
    Column("status_code", Integer),
    Column("body", LargeBinary),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("venue", Text),
    Column("answered_s", Float, nullable=False),
)

INSTANCES: Final = Table(
    "instances",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("alive_until_s", Float, nullable=False),
)
