"""Attempts: the rows of a gateway's ledger as columns, from its store or from a file that it exported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl

from meritorder.errors import TraceError
from meritorder.tables import Column
from meritorder.units import PICOUSD_PER_USD

_PICO_DIGITS: Final = 12

ATTEMPTS: Final = (
    Column(name="request_id", dtype=pl.String, unit="", meaning="id of the request"),
    Column(name="attempt", dtype=pl.Int32, unit="", meaning="number of the attempt, from 1", nullable=True),
    Column(name="tenant", dtype=pl.Categorical, unit="", meaning="tenant of the key", nullable=True),
    Column(name="team", dtype=pl.Categorical, unit="", meaning="team of the key", nullable=True),
    Column(name="key_id", dtype=pl.Categorical, unit="", meaning="id of the key", nullable=True),
    Column(name="workload", dtype=pl.Categorical, unit="", meaning="name of the workload", nullable=True),
    Column(name="lane", dtype=pl.Categorical, unit="", meaning="realtime or deferrable"),
    Column(name="model", dtype=pl.Categorical, unit="", meaning="public name of the model"),
    Column(name="venue", dtype=pl.Categorical, unit="", meaning="venue; null if none was reached", nullable=True),
    Column(
        name="replica", dtype=pl.Categorical, unit="", meaning="replica that ran it; null if unknown", nullable=True
    ),
    Column(name="arrived_s", dtype=pl.Float64, unit="s", meaning="arrival of the request, since the epoch"),
    Column(name="started_s", dtype=pl.Float64, unit="s", meaning="when the attempt was sent", nullable=True),
    Column(name="ended_s", dtype=pl.Float64, unit="s", meaning="when it ended"),
    Column(name="deadline_s", dtype=pl.Float64, unit="s", meaning="deadline; null in real time", nullable=True),
    Column(name="status_code", dtype=pl.Int32, unit="", meaning="HTTP status; null without an answer", nullable=True),
    Column(name="outcome", dtype=pl.Categorical, unit="", meaning="how the attempt ended", nullable=True),
    Column(name="price_basis", dtype=pl.Categorical, unit="", meaning="what its price is based on", nullable=True),
    Column(name="input_tokens", dtype=pl.Int32, unit="tokens", meaning="prompt tokens, cached ones included"),
    Column(name="cached_tokens", dtype=pl.Int32, unit="tokens", meaning="of them, read from a cache", nullable=True),
    Column(name="output_tokens", dtype=pl.Int32, unit="tokens", meaning="generated tokens of the answer"),
    Column(
        name="cost_picousd",
        dtype=pl.Int64,
        unit="picodollars",
        meaning="its tokens at their price; null without a price",
        nullable=True,
    ),
)
"""What costing needs of a ledger row; columns that an older ledger lacks are null."""

MAX_EPOCH_S: Final = 1e11
"""Later times are milliseconds, or none at all."""

_TIMES: Final = ("arrived_s", "started_s", "ended_s")
_COST_USD: Final = "cost_usd"


def from_columns(columns: Mapping[str, list[object]]) -> pl.DataFrame:
    """Return attempts from the columns of the store's rows."""
    frame = pl.DataFrame(
        {column.name: columns[column.name] for column in ATTEMPTS if column.name in columns},
        schema_overrides={column.name: column.dtype for column in ATTEMPTS if column.name in columns},
        strict=False,
    )
    return _checked(_completed(frame.lazy(), set(frame.columns), "the store").collect(), "the store")


def read_attempts(path: Path) -> pl.DataFrame:
    """Read attempts from a ledger that was exported as CSV or Parquet.

    Raises:
        TraceError: The file cannot be read, or is not a ledger.
    """
    try:
        rows = pl.scan_parquet(path) if path.suffix == ".parquet" else pl.scan_csv(path, infer_schema=False)
        attempts = _completed(rows, set(rows.collect_schema().names()), str(path)).collect(engine="streaming")
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).partition("\n")[0]
        raise TraceError(
            f"not a ledger: {reason}", where=str(path), fix="write one with `meritorder ledger`"
        ) from error
    return _checked(attempts, str(path))


def _checked(attempts: pl.DataFrame, where: str) -> pl.DataFrame:
    """Return attempts whose times are epoch seconds.

    Raises:
        TraceError: Some are none.
    """
    for name in _TIMES:
        wrong = attempts.filter(~pl.col(name).is_between(0, MAX_EPOCH_S))
        if len(wrong):
            what = f"{name} is {wrong[name][0]} for {wrong['request_id'][0]}, which is no time in epoch seconds"
            raise TraceError(what, where=where, fix="correct it, or leave the row out")
    return attempts


def _completed(rows: pl.LazyFrame, present: set[str], where: str) -> pl.LazyFrame:
    """Return rows with every column of `ATTEMPTS`, in dollars or in picodollars as they have it."""
    if _COST_USD in present and "cost_picousd" not in present:
        exact = pl.col(_COST_USD).cast(pl.Decimal(38, _PICO_DIGITS)) * PICOUSD_PER_USD
        rows = rows.with_columns(exact.cast(pl.Int64).alias("cost_picousd"))
        present = present | {"cost_picousd"}
    missing = [column.name for column in ATTEMPTS if column.name not in present and not column.nullable]
    if missing:
        raise TraceError(
            f"no column {', '.join(missing)}", where=where, fix="give a ledger, as `meritorder ledger` writes it"
        )
    return rows.select(
        pl.col(column.name).cast(column.dtype)
        if column.name in present
        else pl.lit(None, dtype=column.dtype).alias(column.name)
        for column in ATTEMPTS
    )
