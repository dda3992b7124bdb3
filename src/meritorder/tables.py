"""Schemas of the columns that pass between packages, and the check that a frame has them."""

from dataclasses import dataclass

import polars as pl

from meritorder.errors import MeritorderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name, type, unit and meaning."""

    name: str
    dtype: pl.DataType | type[pl.DataType]
    unit: str
    meaning: str
    nullable: bool = False


REQUESTS: tuple[Column, ...] = (
    Column(name="arrived_s", dtype=pl.Float64, unit="s", meaning="arrival since the start of the trace; sorted"),
    Column(name="input_tokens", dtype=pl.Int32, unit="tokens", meaning="prompt length, cached tokens included"),
    Column(
        name="cached_tokens",
        dtype=pl.Int32,
        unit="tokens",
        meaning="prompt tokens reusable from a prefix cache",
    ),
    Column(name="output_tokens", dtype=pl.Int32, unit="tokens", meaning="generated tokens, at least 1"),
    Column(name="model", dtype=pl.Categorical, unit="", meaning="model requested", nullable=True),
    Column(name="tenant", dtype=pl.Categorical, unit="", meaning="tenant that sent the request", nullable=True),
    Column(name="session", dtype=pl.Categorical, unit="", meaning="conversation", nullable=True),
    Column(name="workload", dtype=pl.Categorical, unit="", meaning="name of the workload", nullable=True),
    Column(
        name="deadline_s",
        dtype=pl.Float64,
        unit="s",
        meaning="latest completion; null in the real-time lane",
        nullable=True,
    ),
)
"""Requests of a trace: sorted by `arrived_s`, `0 <= cached_tokens < input_tokens`, deadlines on the same clock."""


MONEY = pl.Decimal(38, 12)
"""Exact dollars: 26 digits before the point and 12 after, so that sums do not round."""

_INSTANT = pl.Datetime("us", "UTC")

CHARGES: tuple[Column, ...] = (
    Column(name="source", dtype=pl.String, unit="", meaning="file that the charge was read from"),
    Column(
        name="row",
        dtype=pl.UInt32,
        unit="",
        meaning="line of a CSV (the header is line 1), else number of the record",
    ),
    Column(name="period_start", dtype=_INSTANT, unit="", meaning="start of the usage charged"),
    Column(name="period_end", dtype=_INSTANT, unit="", meaning="end of the usage charged", nullable=True),
    Column(
        name="provider",
        dtype=pl.String,
        unit="",
        meaning="provider: aws, azure, gcp, openai, anthropic, ...",
        nullable=True,
    ),
    Column(name="payer", dtype=pl.String, unit="", meaning="account that pays", nullable=True),
    Column(
        name="account",
        dtype=pl.String,
        unit="",
        meaning="account, subscription or project that used it",
        nullable=True,
    ),
    Column(name="invoice", dtype=pl.String, unit="", meaning="invoice of the charge", nullable=True),
    Column(name="region", dtype=pl.String, unit="", meaning="provider's region", nullable=True),
    Column(name="service", dtype=pl.String, unit="", meaning="provider's name of the service", nullable=True),
    Column(
        name="sku",
        dtype=pl.String,
        unit="",
        meaning="usage type, meter or SKU",
        nullable=True,
    ),
    Column(name="description", dtype=pl.String, unit="", meaning="provider's description of the charge", nullable=True),
    Column(name="resource", dtype=pl.String, unit="", meaning="machine, endpoint or request", nullable=True),
    Column(
        name="instance_type",
        dtype=pl.String,
        unit="",
        meaning="provider's name of the machine",
        nullable=True,
    ),
    Column(
        name="instance_family",
        dtype=pl.String,
        unit="",
        meaning="instance type without its size",
        nullable=True,
    ),
    Column(name="purchase", dtype=pl.String, unit="", meaning="purchase option; a `bills.charges.Purchase`"),
    Column(name="unused", dtype=pl.Boolean, unit="", meaning="whether its amortized cost is unused commitment"),
    Column(
        name="commitment",
        dtype=pl.String,
        unit="",
        meaning="reservation or savings plan of the charge",
        nullable=True,
    ),
    Column(name="quantity", dtype=pl.Float64, unit="", meaning="amount of usage", nullable=True),
    Column(name="unit", dtype=pl.String, unit="", meaning="unit of the quantity", nullable=True),
    Column(
        name="billed_usd",
        dtype=MONEY,
        unit="USD",
        meaning="amount on the invoice (AWS: unblended; FOCUS: BilledCost)",
    ),
    Column(
        name="amortised_usd",
        dtype=MONEY,
        unit="USD",
        meaning="cost with commitments amortized over their usage (FOCUS: EffectiveCost)",
    ),
    Column(
        name="list_usd",
        dtype=MONEY,
        unit="USD",
        meaning="cost of the same usage on demand at list price",
        nullable=True,
    ),
    Column(
        name="priced",
        dtype=pl.Boolean,
        unit="",
        meaning="false if the source has usage without amounts",
    ),
    Column(name="tags", dtype=pl.String, unit="", meaning="the user's tags as a JSON object", nullable=True),
    Column(name="model", dtype=pl.String, unit="", meaning="model of a token product", nullable=True),
    Column(
        name="tier",
        dtype=pl.String,
        unit="",
        meaning="service tier of a token product; a `domain.Tier`",
        nullable=True,
    ),
    Column(
        name="token_type",
        dtype=pl.String,
        unit="",
        meaning="input, cached_input, cache_write or output",
        nullable=True,
    ),
    Column(
        name="kind",
        dtype=pl.String,
        unit="",
        meaning="kind of inference charge; null if it is none",
        nullable=True,
    ),
)
"""Charges of a bill, one row per line item.

`billed_usd` sums to the invoice; so does `amortised_usd` over the whole term of a commitment.
"""


def check(frame: pl.DataFrame, schema: tuple[Column, ...], *, what: str) -> pl.DataFrame:
    """Return the frame with the columns of the schema, in its order.

    Args:
        frame: A data frame.
        schema: The columns that it must have.
        what: Name of the table for messages.

    Raises:
        MeritorderError: A column is missing, has another type, or has nulls although it is not nullable.
    """
    for column in schema:
        if column.name not in frame.columns:
            raise MeritorderError(f"column {column.name} is missing", where=what)
        found = frame.schema[column.name]
        if found != column.dtype:
            raise MeritorderError(f"column {column.name} is {found}, not {column.dtype}", where=what)
        if not column.nullable and frame[column.name].null_count():
            raise MeritorderError(f"column {column.name} has nulls", where=what)
    return frame.select(column.name for column in schema)
