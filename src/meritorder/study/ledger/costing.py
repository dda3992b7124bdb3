"""What was paid, attributed to attempts, starts, idle time and unused commitments; it sums to what was paid exactly."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder.metering.capacity import (
    US_PER_S,
    PaidCapacity,
    PaidCommitment,
    Span,
    microseconds,
    spans,
)
from meritorder.metering.sharing import (
    US_PER_HOUR,
    Integers,
    Ran,
    columns,
    crowded_venues,
    hourly,
    prices,
    serving_units,
    share,
)
from meritorder.metering.words import MACHINE, NOT_FINAL
from meritorder.records.accounting import OUTPUT_WEIGHT, Use
from meritorder.units import format_count

_USES: Final = pl.Enum([use.value for use in Use])
_NO_ATTEMPT: Final = -1
_Members = dict[tuple[str, str | None], Integers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A period, in epoch seconds, from `from_s` up to but not including `to_s`."""

    from_s: float
    to_s: float

    @property
    def bounds_us(self) -> tuple[int, int]:
        """Start and end in whole microseconds."""
        return microseconds(self.from_s), microseconds(self.to_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostedLedger:
    """The costs of a period.

    Args:
        costs: One row for each part: index of its `attempt` or null, `hour`, `venue`, `replica`, `use`, `picousd`.
        attempts: The attempts, as in `ATTEMPTS`, with the `replica` that was charged and the `use`; neither is null.
        capacity: The replicas that were paid.
        paid: What was paid by time, as spans.
        period: The period.
        warnings: What has no price, and what was assumed.
    """

    costs: pl.DataFrame
    attempts: pl.DataFrame
    capacity: Sequence[PaidCapacity]
    paid: Sequence[Span]
    period: Period
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Costs:
    """Costs of one venue and use; `attempt` is -1 where there is none."""

    attempt: Integers
    hour: Integers
    picousd: Integers
    venue: str
    replica: str
    use: Use

    def frame(self) -> pl.DataFrame:
        attempt = pl.Series("attempt", self.attempt).cast(pl.Int32)
        return pl.DataFrame({"attempt": attempt, "hour": self.hour.astype(np.int32), "picousd": self.picousd}).select(
            pl.when(attempt >= 0).then(attempt).alias("attempt"),
            "hour",
            pl.lit(self.venue, pl.Categorical).alias("venue"),
            pl.lit(self.replica, pl.Categorical).alias("replica"),
            pl.when(attempt >= 0 if self.use is Use.BUSY else True)
            .then(pl.lit(self.use.value, _USES))
            .otherwise(pl.lit(Use.IDLE.value, _USES))
            .alias("use"),
            "picousd",
        )


def cost(
    attempts: pl.DataFrame,
    capacity: Sequence[PaidCapacity],
    commitments: Sequence[PaidCommitment] = (),
    *,
    period: Period,
) -> CostedLedger:
    """Attribute what was paid within a period.

    Attempts at a venue with paid capacity share its price; those at other venues cost their tokens, at their end.

    Args:
        attempts: As in `ATTEMPTS`.
        capacity: Paid replicas.
        commitments: Paid commitments.
        period: The period.

    Raises:
        ConfigError: A price is out of range.
    """
    from_us, to_us = period.bounds_us
    paid = spans(capacity, commitments, from_us=from_us, to_us=to_us)
    times = attempts.select(
        start=(pl.coalesce("started_s", "ended_s") * US_PER_S).round().cast(pl.Int64),
        end=(pl.col("ended_s") * US_PER_S).round().cast(pl.Int64),
        kind=_physical("lane") * 2**32 + _physical("model"),
        work=pl.col("input_tokens") + OUTPUT_WEIGHT * pl.col("output_tokens"),
        repeated=pl.col("outcome").is_in(list(NOT_FINAL)).fill_null(value=False),
    )
    starts, ends = times["start"].to_numpy(), times["end"].to_numpy()
    ran = Ran.of(
        starts, ends, times["kind"].to_numpy(), times["work"].to_numpy(), repeated=times["repeated"].to_numpy()
    )
    del times
    rented: list[PaidCapacity | PaidCommitment] = [*capacity, *commitments]
    on_machine = _on_machines(attempts, {record.venue for record in rented})
    warnings = [
        f"{venue}: no price per hour, counted as free; write machine or usd_per_hour for the venue"
        for venue in sorted({record.venue for record in rented if record.usd_per_hour is None})
    ]
    parts: list[_Costs] = []
    pooled = _pooled_venues(attempts, on_machine, paid)
    warnings += [
        f"{venue}: some attempts do not name their replica, so that its replicas share one price"
        for venue in sorted(pooled)
    ]
    parts += _without_attempts(paid)
    charged = np.full(len(attempts), _NO_ATTEMPT)
    members_by_replica = _members(attempts, on_machine, pooled)
    units = serving_units(paid, pooled)
    for number, ((venue, replica), unit_spans) in enumerate(units.items()):
        members = _of_unit(members_by_replica, venue, replica)
        bounds, rates, totals = prices(unit_spans)
        shares = share(ran.take(members), bounds, rates, totals)
        index = np.where(shares.attempt >= 0, members[shares.attempt], _NO_ATTEMPT) if len(members) else shares.attempt
        charged[index[index >= 0]] = number
        parts.append(_Costs(index, shares.hour, shares.picousd, venue, replica, Use.BUSY))
    in_period = (ends >= from_us) & (ends < to_us)
    parts += _token_costs(attempts, ends, in_period & ~on_machine)
    warnings += _unpriced_attempts(attempts, in_period, on_machine, charged >= 0, starts < ends)
    frames = [part.frame() for part in parts if len(part.picousd)] or [_no_costs().frame()]
    return CostedLedger(
        costs=pl.concat(frames),
        attempts=_described(attempts, on_machine, charged, [replica for _, replica in units]),
        capacity=capacity,
        paid=paid,
        period=period,
        warnings=tuple(warnings),
    )


def _physical(name: str) -> pl.Expr:
    return pl.col(name).to_physical().cast(pl.Int64).fill_null(0)


def _described(
    attempts: pl.DataFrame, on_machine: NDArray[np.bool_], charged: Integers, replicas: Sequence[str]
) -> pl.DataFrame:
    """Return attempts with the replica that was charged, and what they were paid for."""
    known = pl.Series(replicas, dtype=pl.Categorical)
    replica = known.gather(pl.Series(charged).set(pl.Series(charged < 0), None).cast(pl.UInt32))
    use = pl.when(pl.Series(on_machine)).then(pl.lit(Use.BUSY.value)).otherwise(pl.lit(Use.TOKENS.value))
    return attempts.with_columns(
        pl.col("venue").fill_null(""),
        pl.coalesce(replica, pl.col("replica").cast(pl.Categorical), pl.lit("", pl.Categorical)).alias("replica"),
        use.cast(_USES).alias("use"),
    )


def _no_costs() -> _Costs:
    none = np.empty(0, dtype=np.int64)
    return _Costs(none, none, none, "", "", Use.TOKENS)


def _on_machines(attempts: pl.DataFrame, venues: AbstractSet[str]) -> NDArray[np.bool_]:
    """Return which attempts are paid by the time of a machine: as recorded, else if their venue has paid capacity."""
    basis = pl.col("price_basis")
    recorded = attempts.select(
        pl.when(basis.is_not_null() & (basis != ""))
        .then(basis == MACHINE)
        .otherwise(pl.col("venue").is_in(list(venues)).fill_null(value=False))
        .alias("on_machine")
    )
    return recorded["on_machine"].to_numpy()


def _pooled_venues(attempts: pl.DataFrame, on_machine: NDArray[np.bool_], paid: Sequence[Span]) -> set[str]:
    """Return the venues with several replicas at one time where an attempt does not say which one ran it."""
    unnamed = attempts.filter(pl.Series(on_machine) & pl.col("replica").is_null())["venue"].unique().to_list()
    return crowded_venues(paid) & set(unnamed)


def _members(attempts: pl.DataFrame, on_machine: NDArray[np.bool_], pooled: set[str]) -> _Members:
    """Return the indexes of attempts by venue and replica; the replica is None where it is unknown or pooled."""
    replica = pl.when(pl.col("venue").is_in(list(pooled))).then(None).otherwise(pl.col("replica"))
    groups = (
        attempts.lazy()
        .select("venue", replica.alias("replica"), pl.int_range(pl.len(), dtype=pl.Int64).alias("index"))
        .filter(pl.Series(on_machine))
        .group_by("venue", "replica")
        .agg("index")
        .collect()
    )
    return {(venue, replica): index.to_numpy() for venue, replica, index in zip(*groups.get_columns(), strict=True)}


def _of_unit(members: _Members, venue: str, replica: str) -> Integers:
    keys = [(venue, None), (venue, replica)] if replica else [(venue, None)]
    return np.concatenate([members[key] for key in keys if key in members] or [np.empty(0, dtype=np.int64)])


def _without_attempts(paid: Iterable[Span]) -> list[_Costs]:
    """Return the costs of starts, of commitments that none uses, and of what a minimum bill adds."""
    groups: defaultdict[tuple[str, str, Use], list[Span]] = defaultdict(list)
    for span in paid:
        if span.use is not Use.BUSY:
            groups[span.venue, span.replica, span.use].append(span)
    costs = []
    for (venue, replica, use), group in groups.items():
        _, hour, picousd = hourly(*columns(group))
        costs.append(_Costs(np.full(len(hour), _NO_ATTEMPT), hour, picousd, venue, replica, use))
    return costs


def _token_costs(attempts: pl.DataFrame, ends: Integers, by_tokens: NDArray[np.bool_]) -> list[_Costs]:
    priced = attempts.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("index"), "venue", pl.col("cost_picousd").alias("picousd")
    ).filter(pl.Series(by_tokens) & (pl.col("picousd") != 0).fill_null(value=False))
    costs = []
    for (venue,), group in priced.partition_by("venue", as_dict=True).items():
        index = group["index"].to_numpy()
        hour = ends[index] // US_PER_HOUR
        costs.append(_Costs(index, hour, group["picousd"].to_numpy(), str(venue or ""), "", Use.TOKENS))
    return costs


def _unpriced_attempts(
    attempts: pl.DataFrame,
    in_period: NDArray[np.bool_],
    on_machine: NDArray[np.bool_],
    paid_for: NDArray[np.bool_],
    took_time: NDArray[np.bool_],
) -> Iterable[str]:
    reached = attempts["venue"].is_not_null().to_numpy() & in_period
    unpriced = reached & ~on_machine & attempts["cost_picousd"].is_null().to_numpy()
    outside = reached & on_machine & took_time & ~paid_for
    for use, which in ((Use.TOKENS, unpriced), (Use.BUSY, outside)):
        counts = attempts.filter(pl.Series(which)).group_by("venue").len().sort("venue")
        for venue, count in counts.iter_rows():
            yield free_attempts(venue, use, count)


def free_attempts(venue: str, use: str, count: int) -> str:
    """Return the warning that nothing was paid for some attempts at a venue."""
    number = format_count(count, "attempt")
    if use == Use.TOKENS:
        return f"{venue}: no price for {number}, counted as free; write a price for the venue"
    return f"{venue}: no paid capacity at the time of {number}, counted as free"
