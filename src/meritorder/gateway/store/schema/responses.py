"""What clients retrieve later or are sent: stored answers, and webhook events."""

from typing import Final

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, String, Table, Text, UniqueConstraint

from meritorder.gateway.store.schema.metadata import METADATA, SEQ, seq

STORED_ANSWERS: Final = Table(
    "kept",
    METADATA,
    seq(),
    Column("id", String(96), nullable=False),
    Column("kind", String(16), nullable=False),  # response, completion
    Column("tenant", Text, nullable=False),
    Column("model", Text),
    Column("status", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
    Column("metadata", Text),
    Column("created_s", Float, nullable=False),
    Column("request_seq", SEQ),
    UniqueConstraint("tenant", "kind", "id"),
    Index(None, "tenant", "kind", "seq"),
    sqlite_autoincrement=True,
)

ALERTS: Final = Table(
    "alerts",
    METADATA,
    Column("kind", String(64), primary_key=True),
    Column("subject", String(256), primary_key=True),
    Column("seen_s", Float, nullable=False),
    Column("sent_s", Float, nullable=False),
)

WEBHOOKS: Final = Table(
    "webhooks",
    METADATA,
    seq(),
    Column("id", String(96), nullable=False, unique=True),
    Column("body", LargeBinary, nullable=False),
    Column("url", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("not_before_s", Float, nullable=False),
    sqlite_autoincrement=True,
)
