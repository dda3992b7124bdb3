"""What the autopilot sees: the ledger as a trace, what was paid, and what is queued."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from meritorder.errors import TraceError
from meritorder.metering.capacity import Paid
from meritorder.metering.words import NOT_FINAL
from meritorder.study.ledger.answer import account, cost_all, whole_period
from meritorder.study.ledger.attempts import from_columns
from meritorder.study.ledger.costing import Period
from meritorder.traces import Trace
from meritorder.traces.read import read_trace
from meritorder.traces.trace import cut
from meritorder.units import SECONDS_PER_DAY, utc

COLUMNS: Final = (
    *("request_id", "attempt", "tenant", "workload", "lane", "model", "venue", "replica", "outcome", "price_basis"),
    *("arrived_s", "started_s", "ended_s", "ttft_s", "deadline_s", "status_code"),
    *("input_tokens", "cached_tokens", "output_tokens", "lost_tokens", "cost_picousd"),
)
"""Columns of the ledger that it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The service at one time.

    Args:
        now_s: Epoch seconds.
        trace: The requests of the history.
        rows: Their rows in the ledger, the final attempt of each.
        paid_usd_per_day: What the last day cost; None if nothing has a price.
        queued: Deferrable requests that wait.
    """

    now_s: float
    trace: Trace
    rows: pl.DataFrame
    paid_usd_per_day: float | None
    queued: int

    @property
    def last_day(self) -> pl.DataFrame:
        """The rows of requests that arrived in the last 24 hours."""
        return self.rows.filter(pl.col("arrived_s") >= self.now_s - SECONDS_PER_DAY)

    @property
    def tokens_per_day(self) -> float:
        """Tokens of the requests of the last 24 hours, or of the whole history at its rate if that is shorter."""
        last = self.last_day
        first_s = float(self.rows.select(pl.col("arrived_s").min()).item() or self.now_s)
        covered_s = min(SECONDS_PER_DAY, max(self.now_s - first_s, 1.0))
        tokens = last.select((pl.col("input_tokens") + pl.col("output_tokens")).sum()).item()
        return float(tokens or 0) * SECONDS_PER_DAY / covered_s

    @property
    def requests_per_day(self) -> float:
        """Requests of the last 24 hours."""
        return float(len(self.last_day))

    def days(self, count: int) -> Trace:
        """Return the requests of the last days, as many as the history has.

        Raises:
            TraceError: Nothing arrived in them.
        """
        from_s = self.now_s - count * SECONDS_PER_DAY
        if self.rows.filter(pl.col("arrived_s") >= from_s).is_empty():
            raise TraceError(
                f"no request has arrived since {utc(from_s):%Y-%m-%d %H:%M} UTC, and the plan in force stays as it is",
                where="the ledger",
                fix="if that traffic has ended, take the plan out of force or stop its machines",
            )
        epoch_s = self.trace.epoch_s or 0.0
        return cut(self.trace, max(0.0, from_s - epoch_s), None)


def observe(
    rows: pl.DataFrame, *, now_s: float, paid_usd_per_day: float | None, queued: int, where: str = "the ledger"
) -> Observation:
    """Return what the rows of a ledger show.

    Raises:
        TraceError: None of them is a request.
    """
    answered = rows.filter(
        (pl.col("output_tokens") > 0) & ~pl.col("outcome").is_in(list(NOT_FINAL)).fill_null(value=False)
    )
    if answered.is_empty():
        raise TraceError("no request was answered yet", where=where, fix="serve some requests first")
    trace = read_trace(answered.with_columns(lost_tokens=pl.lit(0)), format="ledger")
    return Observation(now_s=now_s, trace=trace, rows=answered, paid_usd_per_day=paid_usd_per_day, queued=queued)


def read_store(config: Path, *, now_s: float, history_s: float) -> Observation:
    """Return what the store of a gateway shows.

    Raises:
        MeritorderError: The store cannot be read, or has no request.
    """
    from meritorder.gateway.app.administration import Administration  # noqa: PLC0415 - database drivers

    with Administration(config) as store:
        columns = store.ledger_columns(COLUMNS, from_s=now_s - history_s, to_s=now_s)
        paid, queued = store.paid_capacity(), store.queued()
    rows = pl.DataFrame(columns, infer_schema_length=None)
    return observe(
        rows, now_s=now_s, paid_usd_per_day=_paid_usd_per_day(rows, paid, now_s), queued=queued, where=str(config)
    )


def _paid_usd_per_day(rows: pl.DataFrame, paid: Sequence[Paid], now_s: float) -> float | None:
    """Return what was paid in the last 24 hours, at its rate if the ledger is younger; None without a price."""
    if not any(record.usd_per_hour is not None for record in paid) and not rows["cost_picousd"].drop_nulls().len():
        return None
    attempts = from_columns(rows.to_dict(as_series=False))
    from_s = max(now_s - SECONDS_PER_DAY, whole_period(attempts, paid).from_s)
    if now_s - from_s < 1.0:
        return None
    report = account(cost_all(attempts, paid, Period(from_s=from_s, to_s=now_s)), ("lane",))
    return float(report.paid_usd) * SECONDS_PER_DAY / (now_s - from_s)
