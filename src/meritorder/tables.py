"""Declared schemas of the columns that flow between packages, and their check at the door."""

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
    Column(name="model", dtype=pl.Categorical, unit="", meaning="model asked for", nullable=True),
    Column(name="tenant", dtype=pl.Categorical, unit="", meaning="who asked", nullable=True),
    Column(name="session", dtype=pl.Categorical, unit="", meaning="conversation", nullable=True),
    Column(name="workload", dtype=pl.Categorical, unit="", meaning="name of the workload", nullable=True),
    Column(
        name="deadline_s",
        dtype=pl.Float64,
        unit="s",
        meaning="must be done by; null in the real-time lane",
        nullable=True,
    ),
)
"""Requests of a trace: sorted by `arrived_s`, `0 <= cached_tokens < input_tokens`, deadlines on the same clock."""


def check(frame: pl.DataFrame, schema: tuple[Column, ...], *, what: str) -> pl.DataFrame:
    """Return the frame with the schema's columns in order, or say which column is wrong.

    Args:
        frame: Any data frame.
        schema: What it must hold.
        what: Name of the table for the message.

    Raises:
        MeritorderError: A column is missing, has another type, or has nulls where none may be.
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
