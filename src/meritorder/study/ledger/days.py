"""What was paid, from the sums that a gateway keeps by day, and from its rows for the rest of the time."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import polars as pl

from meritorder.errors import ConfigError
from meritorder.metering.capacity import Paid
from meritorder.records.accounting import LedgerReport, Use
from meritorder.study.ledger.answer import NOT_SIMULATED, cost_all, empty_ledger, of_tenant, whole_period
from meritorder.study.ledger.attempts import ATTEMPTS, from_columns
from meritorder.study.ledger.costing import CostedLedger, Period, free_attempts
from meritorder.study.ledger.summary import DIMENSIONS, DailySums, report
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_DAY, utc

if TYPE_CHECKING:
    from meritorder.gateway.app.administration import Administration

_BY_ROW: Final = frozenset({"hour", "replica", "request"})
_EVER_S: Final = 1e15
_USE: Final = "use"
_USUAL: Final = ("venue", "workload", "lane")  # what every answer needs
_COUNTS: Final = ("requests", "attempts", "unpaid", "input_tokens", "output_tokens", "kept", "missed")


def has_sums(by: Sequence[str]) -> bool:
    """Return whether the sums of days can tell some dimensions apart."""
    return _BY_ROW.isdisjoint(by)


def check_rows(store: "Administration", from_s: float | None) -> None:
    """Check that the ledger has all rows since some time.

    Raises:
        ConfigError: Some were deleted.
    """
    kept_from_s = store.rows_from_s()
    if kept_from_s is not None and (from_s is None or from_s < kept_from_s):
        since = utc(kept_from_s).date().isoformat()
        raise ConfigError(
            f"the rows before {since} are deleted, and only the sums of whole days are left",
            where="--from",
            fix=f"write --from {since}, or whole days with --by day, tenant, team, key, workload, lane, model or venue",
        )


def account_days(
    store: "Administration",
    by: Sequence[str],
    *,
    from_s: float | None,
    to_s: float | None,
    tenant: str | None = None,
) -> LedgerReport:
    """Return what a gateway paid in a period, and for what.

    Args:
        store: The gateway's store.
        by: Names of `DIMENSIONS` for which `has_sums`.
        from_s: Start; None for the first of the ledger.
        to_s: End; None for the last.
        tenant: Whose requests; None for all, and for what belongs to no request.

    Raises:
        ConfigError: A part of a day is asked for whose rows are deleted.
        TraceError: There is nothing in the ledger.
    """
    first = store.first_day()
    if first is None:
        raise empty_ledger()
    days = store.summed_days()
    low_s = max(first * SECONDS_PER_DAY, -_EVER_S if from_s is None else from_s)
    high_s = _EVER_S if to_s is None else to_s
    whole = [day for day in days if low_s <= day * SECONDS_PER_DAY and (day + 1) * SECONDS_PER_DAY <= high_s]
    paid = store.paid_capacity()
    rest = [_cost(store, paid, period) for period in _rest(whole, low_s, high_s)]
    parts = [part if tenant is None else of_tenant(part, tenant) for part in rest if part is not None]
    if not whole and not parts:
        raise empty_ledger()
    bounds = [part.period for part in parts]
    bounds += [Period(from_s=day * SECONDS_PER_DAY, to_s=(day + 1) * SECONDS_PER_DAY) for day in whole]
    period = Period(
        from_s=min(bound.from_s for bound in bounds) if from_s is None else from_s,
        to_s=max(bound.to_s for bound in bounds) if to_s is None else to_s,
    )
    nothing = cost_all(from_columns({column.name: [] for column in ATTEMPTS}), (), period)
    sums = [_daily_sums(store, whole, tenant)] if whole else []
    quotes = store.settled_quotes(from_s=low_s, to_s=high_s) if tenant is None else ()
    return report(nothing, period, by, no_saving_because=NOT_SIMULATED, quotes=quotes, others=[*sums, *parts])


def _rest(whole: Sequence[int], low_s: float, high_s: float) -> Iterator[Period]:
    """Yield the times of a period between some days."""
    for day in whole:
        if low_s < day * SECONDS_PER_DAY:
            yield Period(from_s=low_s, to_s=day * SECONDS_PER_DAY)
        low_s = (day + 1) * SECONDS_PER_DAY
    if low_s < high_s:
        yield Period(from_s=low_s, to_s=high_s)


def _cost(store: "Administration", paid: Sequence[Paid], period: Period) -> CostedLedger | None:
    """Return the costs of a period from its rows; None if nothing ran or was paid in it."""
    check_rows(store, period.from_s)
    names = [column.name for column in ATTEMPTS]
    attempts = from_columns(store.ledger_columns(names, from_s=period.from_s, to_s=period.to_s))
    if attempts.is_empty() and not paid:
        return None
    there = whole_period(attempts, paid)
    period = replace(period, from_s=max(period.from_s, there.from_s), to_s=min(period.to_s, there.to_s))
    if period.from_s >= period.to_s:
        return None
    return cost_all(attempts, paid, period)


def _daily_sums(store: "Administration", days: Sequence[int], tenant: str | None) -> DailySums:
    """Return the sums of days, which are read for each question: by little, there is little to read."""
    usual = _read(store, days, tenant, _USUAL)

    def read(columns: Sequence[str]) -> pl.DataFrame:
        return usual if set(columns) <= {*_USUAL, _USE} else _read(store, days, tenant, columns)

    if tenant is not None:
        return DailySums(by=read)
    unpaid = usual.filter(pl.col("unpaid") > 0)
    counts = unpaid.group_by("venue", "use").agg(pl.col("unpaid").sum()).sort("venue", "use")
    warnings = (free_attempts(venue, use, count) for venue, use, count in counts.iter_rows())
    return DailySums(by=read, warnings=tuple(warnings))


def _read(store: "Administration", days: Sequence[int], tenant: str | None, columns: Sequence[str]) -> pl.DataFrame:
    names = dict.fromkeys((*columns, _USE))
    sums = pl.DataFrame(
        store.daily_sums(list(names), first=days[0], last=days[-1], tenant=tenant),
        schema_overrides=dict.fromkeys(names, pl.String),
        infer_schema_length=None,
    )
    is_owned = pl.col(_USE).is_in([Use.BUSY.value, Use.TOKENS.value])
    owners = [dimension.column for dimension in DIMENSIONS.values() if not dimension.of_costs]
    return sums.filter(pl.col("day").is_in(list(days))).select(
        (pl.col("day") * HOURS_PER_DAY).alias("hour"),
        *(
            pl.when(is_owned).then(name).otherwise(pl.format("({})", _USE)).alias(name)
            if name in owners
            else pl.col(name).fill_null("")
            for name in names
        ),
        pl.col("paid_picousd").alias("picousd"),
        *_COUNTS,
    )
