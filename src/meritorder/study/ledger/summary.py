"""Sums of a costed ledger, by whatever people ask for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import polars as pl

from meritorder.errors import ConfigError
from meritorder.metering.words import NOT_FINAL
from meritorder.records.accounting import CostRow, Deadlines, LedgerReport, QuotedBatches, Use, UseCost, WorkloadCost
from meritorder.records.receipts import SettledQuote
from meritorder.study.ledger.costing import CostedLedger, Period
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_HOUR, TOKENS_PER_MTOK, exact_usd, utc

_CLIENT_GONE: Final = 499
_HOUR: Final = "hour"
_NAMES: Final = pl.Categorical()
_TIMES: Final = frozenset({_HOUR, "day", "month"})
_LANES: Final = ("workload", "lane")
_WORK: Final = ("requests", "attempts", "input_tokens", "output_tokens")
_SUMS: Final = ("picousd", *_WORK, "kept", "missed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """Something to sum by.

    Args:
        meaning: What it is.
        column: The column of attempts, or of costs, that has it.
        of_costs: Whether costs that belong to no attempt have it as well.
        text: Turns a value into text.
    """

    meaning: str
    column: str
    of_costs: bool = False
    text: Callable[[Any], str] = str


def _time(pattern: str) -> Callable[[int], str]:
    return lambda hour: utc(hour * SECONDS_PER_HOUR).strftime(pattern)


DIMENSIONS: Final = {
    "hour": Dimension(meaning="hour, UTC", column=_HOUR, of_costs=True, text=_time("%Y-%m-%d %H:00")),
    "day": Dimension(meaning="day, UTC", column="day", of_costs=True, text=_time("%Y-%m-%d")),
    "month": Dimension(meaning="month, UTC", column="month", of_costs=True, text=_time("%Y-%m")),
    "tenant": Dimension(meaning="tenant of the key", column="tenant"),
    "team": Dimension(meaning="team of the key", column="team"),
    "key": Dimension(meaning="id of the key", column="key_id"),
    "workload": Dimension(meaning="workload", column="workload"),
    "lane": Dimension(meaning="lane", column="lane"),
    "model": Dimension(meaning="model", column="model"),
    "venue": Dimension(meaning="venue", column="venue", of_costs=True),
    "replica": Dimension(meaning="replica", column="replica", of_costs=True),
    "use": Dimension(meaning="what it was paid for", column="use", of_costs=True),
    "request": Dimension(meaning="id of the request", column="request_id"),
}
"""What costs can be summed by."""


def parse_dimensions(text: str) -> tuple[str, ...]:
    """Return the names in a list such as `day,tenant`.

    Raises:
        ConfigError: One of them is unknown, or named twice.
    """
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        if name not in DIMENSIONS:
            raise ConfigError(f"unknown {name!r}", where="--by", fix=f"the names are {', '.join(DIMENSIONS)}")
    if len(set(names)) < len(names):
        raise ConfigError("a name is given twice", where="--by", fix="give each once")
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class DailySums:
    """What was paid in days that are summed, and the attempts that ended in them.

    Args:
        by: Returns the sums by columns of dimensions, or more: these, `hour` of the start of each day, and `_SUMS`.
        warnings: What has no price.
    """

    by: Callable[[Sequence[str]], pl.DataFrame]
    warnings: tuple[str, ...] = ()


def report(
    costed: CostedLedger,
    period: Period,
    by: Sequence[str],
    *,
    no_saving_because: str,
    quotes: Sequence[SettledQuote] = (),
    others: Sequence[CostedLedger | DailySums] = (),
) -> LedgerReport:
    """Return the sums of a costed ledger.

    Args:
        costed: The ledger.
        period: Its period.
        by: Names of `DIMENSIONS`.
        no_saving_because: Why no saving is claimed.
        quotes: What batches with a quote were quoted and cost.
        others: Other parts of the period.
    """
    parts = (costed, *others)
    by_use = _sums(parts, ("use",))
    used = {row["use"]: exact_usd(row["picousd"]) for row in by_use.iter_rows(named=True)}
    uses = {use: used.get(use.value, Decimal(0)) for use in Use}
    whole = by_use.sum().row(0, named=True)
    return LedgerReport(
        period=(utc(period.from_s).isoformat(), utc(period.to_s).isoformat()),
        paid_usd=sum(uses.values(), Decimal(0)),
        no_saving_because=no_saving_because,
        idle_usd=uses[Use.IDLE],
        starting_usd=uses[Use.STARTING],
        unused_commitment_usd=uses[Use.UNUSED_COMMITMENT],
        by_use=tuple(UseCost(use=use.value, paid_usd=usd) for use, usd in uses.items()),
        by_workload=_workloads(_rows(_sums(parts, _LANES), _LANES)),
        rows=_rows(_sums(parts, by), by) if by else (),
        requests=whole["requests"],
        attempts=whole["attempts"],
        deadlines=Deadlines(kept=whole["kept"], missed=whole["missed"]),
        quotes=_quoted(quotes) if quotes else None,
        warnings=tuple(dict.fromkeys(warning for part in parts for warning in part.warnings)),
    )


def _sums(parts: Sequence[CostedLedger | DailySums], by: Sequence[str]) -> pl.DataFrame:
    """Return the sums of the parts of a period by some dimensions."""
    columns = [DIMENSIONS[name].column for name in by]
    frames = [
        _with_calendar(part.by([column for column in columns if column not in _TIMES]))
        if isinstance(part, DailySums)
        else _joined(cost_sums(part, by), work_sums(part, by), by)
        for part in parts
    ]
    table = pl.concat(
        frame.select(
            *(pl.col(column).cast(pl.Int32 if column in _TIMES else pl.String) for column in columns),
            *(pl.col(name).cast(pl.Int128) for name in _SUMS),
        )
        for frame in frames
    )
    return table.group_by(columns).agg(pl.col(name).sum() for name in _SUMS).sort(columns, nulls_last=True)


def _quoted(quotes: Sequence[SettledQuote]) -> QuotedBatches:
    charged = sum(quote.charged_picousd for quote in quotes)
    paid = sum(quote.paid_picousd for quote in quotes)
    return QuotedBatches(
        batches=len(quotes),
        quoted_usd=exact_usd(sum(quote.quoted_picousd for quote in quotes)),
        charged_usd=exact_usd(charged),
        paid_usd=exact_usd(paid),
        difference_usd=exact_usd(charged - paid),
    )


def ended_attempts(costed: CostedLedger) -> pl.DataFrame:
    """Return the attempts that ended within the period, with the times that costs have."""
    period = costed.period
    ended = costed.attempts.filter((pl.col("ended_s") >= period.from_s) & (pl.col("ended_s") < period.to_s))
    hour = (pl.col("ended_s") // SECONDS_PER_HOUR).cast(pl.Int32)
    return _with_calendar(ended.with_columns(hour.alias(_HOUR)))


def _with_calendar(rows: pl.DataFrame) -> pl.DataFrame:
    day = pl.col(_HOUR) // HOURS_PER_DAY
    month = pl.from_epoch(day, time_unit="d").dt.month_start().cast(pl.Int32)
    return rows.with_columns((day * HOURS_PER_DAY).alias("day"), (month * HOURS_PER_DAY).alias("month"))


def is_final() -> pl.Expr:
    """Return whether an attempt ended its request."""
    return ~pl.col("outcome").is_in(NOT_FINAL).fill_null(value=False)


def cost_sums(costed: CostedLedger, by: Sequence[str]) -> pl.DataFrame:
    """Return the sums of costs by some dimensions; 128-bit, since a large bill overflows 64 bits of picodollars."""
    costs = costed.costs
    owners = {DIMENSIONS[name].column for name in by if not DIMENSIONS[name].of_costs}
    for column in sorted(owners):
        # The use in parentheses stands for the owner of what no attempt owns.
        nobody = pl.col("use").replace_strict({use.value: f"({use.value})" for use in Use}, return_dtype=_NAMES)
        owner = costed.attempts[column].gather(costs["attempt"].cast(pl.UInt32)).alias(column).cast(_NAMES)
        costs = costs.with_columns(pl.when(pl.col("attempt").is_null()).then(nobody).otherwise(owner).alias(column))
    columns = [DIMENSIONS[name].column for name in by]
    picousd = pl.col("picousd").cast(pl.Int128).sum()
    return _with_calendar(costs).group_by(columns).agg(picousd)


def work_sums(costed: CostedLedger, by: Sequence[str]) -> pl.DataFrame:
    """Return the requests, attempts, tokens and deadlines that ended in the period, by some dimensions."""
    return _work_sums(ended_attempts(costed), by)


def _work_sums(ended: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    columns = [DIMENSIONS[name].column for name in by]
    # A client that went away waits for no deadline.
    status = pl.col("status_code").fill_null(0)
    promised = is_final() & pl.col("deadline_s").is_not_null() & (status != _CLIENT_GONE)
    in_time = (pl.col("ended_s") <= pl.col("deadline_s")) & (status >= 200) & (status < 300)
    sums = (
        is_final().sum().cast(pl.Int64).alias("requests"),
        pl.len().cast(pl.Int64).alias("attempts"),
        pl.col("input_tokens").cast(pl.Int64).sum(),
        pl.col("output_tokens").cast(pl.Int64).sum(),
        (promised & in_time).sum().cast(pl.Int64).alias("kept"),
        (promised & ~in_time).sum().cast(pl.Int64).alias("missed"),
    )
    return ended.group_by(columns).agg(sums)


def group_rows(costed: CostedLedger, ended: pl.DataFrame, by: Sequence[str]) -> tuple[CostRow, ...]:
    """Return the costs of each group, with the work of the attempts that ended."""
    columns = [DIMENSIONS[name].column for name in by]
    return _rows(_joined(cost_sums(costed, by), _work_sums(ended, by), by).sort(columns, nulls_last=True), by)


def _joined(costs: pl.DataFrame, work: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return the costs and the work of each group; names are texts, whose order is that of the alphabet."""
    columns = [DIMENSIONS[name].column for name in by]
    costs, work = (
        frame.with_columns(pl.col(column).cast(pl.String) for column in columns if column not in _TIMES)
        for frame in (costs, work)
    )
    joined = costs.join(work, on=columns, how="full", coalesce=True, nulls_equal=True)
    return joined.with_columns(pl.col(name).fill_null(0) for name in _SUMS)


def _rows(sums: pl.DataFrame, by: Sequence[str]) -> tuple[CostRow, ...]:
    return tuple(
        CostRow(
            by={name: _text(DIMENSIONS[name], row[DIMENSIONS[name].column]) for name in by},
            paid_usd=exact_usd(row["picousd"]),
            saved_usd=None,
            **{name: row[name] for name in _WORK},
        )
        for row in sums.iter_rows(named=True)
    )


def _text(dimension: Dimension, value: object) -> str:
    return "" if value is None else dimension.text(value)


def _workloads(rows: Sequence[CostRow]) -> tuple[WorkloadCost, ...]:
    return tuple(
        WorkloadCost(
            workload=row.by["workload"],
            lane=row.by["lane"],
            requests=row.requests,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            paid_usd=row.paid_usd,
            usd_per_request=row.paid_usd / row.requests if row.requests else None,
            usd_per_mtok=_per_mtok(row),
        )
        for row in rows
        if not row.by["lane"].startswith("(")
    )


def _per_mtok(row: CostRow) -> Decimal | None:
    tokens = row.input_tokens + row.output_tokens
    return row.paid_usd / tokens * TOKENS_PER_MTOK if tokens else None
