"""The tables. Times are epoch seconds, money is in picodollars (exact, and summed by the database).

States of a request that waits, each arrow one transaction:

    queued ──claim──► running ──answer──► done | failed
      ▲                  │
      └──release, or ────┘         batch expired or cancelled: what is queued stays as it was, what runs is
         its owner died            `ended`; the batch's files say what became of it, then the rows go

States of a batch are OpenAI's; `finalizing` goes to what `ending` says.
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

# SQLite counts up INTEGER keys only.
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
    Column("deadline", Text),  # such as "4h": its calls are deferrable
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("budget_picousd", BigInteger),
    Column("created_s", Float, nullable=False),
    Column("revoked_s", Float),
    sqlite_autoincrement=True,
)

FILES: Final = Table(
    "files",
    METADATA,
    _seq(),
    Column("id", String(96), nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("blob", Text, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("expires_s", Float),
    Column("deleted_s", Float),  # the blob stays while a batch reads it
    Index(None, "tenant", "seq"),
    sqlite_autoincrement=True,
)

BATCHES: Final = Table(
    "batches",
    METADATA,
    _seq(),
    Column("id", String(96), nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("key_id", Text),
    Column("endpoint", Text, nullable=False),
    Column("completion_window", Text, nullable=False),
    Column("input_file_id", Text, nullable=False),
    Column("output_file_id", Text),
    Column("error_file_id", Text),
    Column("status", Text, nullable=False),
    Column("ending", Text),  # completed, expired or cancelled, while finalizing
    Column("model", Text),
    Column("metadata", Text),
    Column("errors", Text),
    Column("output_expires_after_s", Float),
    Column("trace", Text),  # the span in which it was submitted: W3C's traceparent
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
    Column("total", Integer, nullable=False, server_default="0"),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("queued_tokens", BigInteger, nullable=False, server_default="0"),  # estimated, of what is not answered
    Column("input_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("output_tokens", BigInteger, nullable=False, server_default="0"),
    Column("reasoning_tokens", BigInteger, nullable=False, server_default="0"),
    Index(None, "tenant", "seq"),
    Index(
        "ix_batches_open",
        "status",
        "seq",
        sqlite_where=text("status IN ('validating', 'in_progress', 'cancelling', 'finalizing')"),
        postgresql_where=text("status IN ('validating', 'in_progress', 'cancelling', 'finalizing')"),
    ),
    sqlite_autoincrement=True,
)

REQUESTS: Final = Table(
    "requests",
    METADATA,
    _seq(),
    Column("batch_seq", _SEQ, ForeignKey("batches.seq")),  # null: a call of its own
    Column("line", Integer, nullable=False, server_default="0"),
    Column("id", String(96)),  # of a call of its own
    Column("tenant", Text, nullable=False),
    Column("key_id", Text),
    Column("custom_id", Text),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("body_at", BigInteger),  # in the batch's input file
    Column("body_bytes", BigInteger, nullable=False),
    Column("body", LargeBinary),  # of a call of its own
    Column("input_tokens", Integer, nullable=False),  # estimated
    Column("output_tokens", Integer, nullable=False),  # at most
    Column("workload", Text),  # who said that a call of its own can wait
    Column("trace", Text),  # the span in which it was submitted: W3C's traceparent
    Column("prefix", BigInteger, nullable=False),  # alike for prompts that begin alike
    Column("arrived_s", Float, nullable=False),
    Column("deadline_s", Float, nullable=False),
    Column("not_before_s", Float, nullable=False, server_default="0"),
    Column("state", String(16), nullable=False),
    Column("owner", Text),
    Column("holder", Text),  # the gateway that holds a client's line for the answer; null: it is kept
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("faults", Integer, nullable=False, server_default="0"),
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

# Requests that were handed to a provider's batch API together. They are `running`, owned by the chunk, which outlives
# the gateway that made it: nobody may run them again while the provider does.
CHUNKS: Final = Table(
    "chunks",
    METADATA,
    _seq(),
    Column("id", String(26), nullable=False, unique=True),
    Column("venue", Text, nullable=False),
    Column("batch_seq", _SEQ, ForeignKey("batches.seq"), nullable=False),
    Column("provider_id", Text),  # null: not known to be submitted
    Column("created_s", Float, nullable=False),
    Column("sent_s", Float),  # when it was sent to the provider first; null: never
    Column("cancelled", Boolean, nullable=False, server_default="0"),  # the provider was asked to
    Column("owner", Text),  # the gateway that looks after it
    sqlite_autoincrement=True,
)

ANSWERS: Final = Table(
    "answers",
    METADATA,
    # The primary key is what makes an answer be stored once.
    Column("request_seq", _SEQ, ForeignKey("requests.seq"), primary_key=True, autoincrement=False),
    Column("request_id", Text, nullable=False),
    Column("status_code", Integer),
    Column("body", LargeBinary),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("venue", Text),
    Column("answered_s", Float, nullable=False),
)

KEPT: Final = Table(
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
    UniqueConstraint("kind", "id"),
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
    Column("lost_tokens", Integer, nullable=False),  # made, and thrown away when real time wanted the seat
    Column("counted", Boolean, nullable=False),  # by the venue; else estimated
    Column("cost_picousd", BigInteger),  # null: the venue has no price
    Index(None, "key_id", "arrived_s"),
    sqlite_autoincrement=True,
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
