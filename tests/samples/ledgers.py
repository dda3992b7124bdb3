"""Attempts and replicas of tests; times are seconds since the epoch."""

from decimal import Decimal
from typing import Any

import polars as pl

from meritorder.metering.capacity import PaidCapacity
from meritorder.study.ledger.attempts import from_columns

_DEFAULTS: dict[str, Any] = {
    "lane": "realtime",
    "model": "m",
    "venue": "gpu",
    "arrived_s": 0.0,
    "input_tokens": 10,
    "output_tokens": 5,
}


def attempts(*rows: dict[str, Any]) -> pl.DataFrame:
    """Return attempts; what a row lacks has a default."""
    whole = [_DEFAULTS | {"request_id": f"req_{number}"} | row for number, row in enumerate(rows)]
    names = dict.fromkeys([*_DEFAULTS, "request_id", "ended_s", *(name for row in whole for name in row)])
    return from_columns({name: [row.get(name) for row in whole] for name in names})


def replica(start_s: float, end_s: float, usd: str = "3.6", **fields: float | str | None) -> PaidCapacity:
    """Return a replica that is ready at once."""
    named: dict[str, Any] = {"venue": "gpu", "replica": "r0", "ready_s": start_s} | fields
    return PaidCapacity(started_s=start_s, ended_s=end_s, usd_per_hour=Decimal(usd), **named)
