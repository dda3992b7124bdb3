"""Machine hours of a bill, hour by hour, at the prices that were paid.

A pool is machines of one kind in one place for one kind of work. Discounts, credits and refunds that the bill lists as
separate lines are spread over the charges of their provider.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder import bills
from meritorder.bills import COMMITMENTS, PurchaseOption
from meritorder.offers import machine_id
from meritorder.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]

HOURLY_UNIT: Final = r"(?i)^(1 ?)?(instance[- ]?)?(h|hrs?|hours?)$"
"""Units in which machines are counted in hours."""

_NEGATIVE: Final = (PurchaseOption.DISCOUNT, PurchaseOption.CREDIT, PurchaseOption.REFUND, PurchaseOption.ADJUSTMENT)
_SERVICE_TAGS: Final = ("service", "app", "application", "component", "workload", "name", "project", "team")
_MAX_NAMES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledMachine:
    """The kind and place of a machine.

    Args:
        provider: Provider that rents it out.
        region: Region, "" if the bill does not state it.
        instance: The provider's instance type.
    """

    provider: str
    region: str
    instance: str

    @property
    def key(self) -> str:
        """Its name in a plan."""
        return machine_id(self.provider, self.region, self.instance)

    @property
    def label(self) -> str:
        """Its name in texts."""
        return f"{self.instance} in {self.region}" if self.region else self.instance


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledPool:
    """Machines of one kind in one place for one kind of work.

    Args:
        machine: Kind and place; findings may move it.
        may_wait: Whether tags mark its work as deferrable.
        non_production: Whether tags mark it as a non-production system.
        served: Whether it served the requests of the trace.
        on_demand: Machines bought on demand in each hour, shape (hours,).
        usd_per_hour: Average price of one of them.
        committed: Machines under commitments in each hour, shape (hours,); their cost is sunk.
        names: The services that it runs, from its tags.
        on_spot: Whether a finding has moved its on-demand hours to spot.
    """

    machine: BilledMachine
    may_wait: bool
    non_production: bool
    served: bool
    on_demand: Floats
    usd_per_hour: float
    committed: Floats
    names: tuple[str, ...] = ()
    on_spot: bool = False

    def at_cost(self, usd: float) -> "BilledPool":
        """Return the same hours at another total cost."""
        return replace(self, usd_per_hour=usd / float(self.on_demand.sum()))

    @property
    def usd(self) -> float:
        """Cost of its on-demand hours."""
        return float(self.on_demand.sum()) * self.usd_per_hour

    @property
    def machines(self) -> Floats:
        """Machines in each hour, on demand and under commitments, shape (hours,)."""
        return np.asarray(self.on_demand + self.committed)

    @property
    def serves(self) -> str:
        """The services that it runs, for texts."""
        more = f" and {len(self.names) - _MAX_NAMES} more" if len(self.names) > _MAX_NAMES else ""
        return f" ({', '.join(self.names[:_MAX_NAMES])}{more})" if self.names else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidRates:
    """What the bill paid for an hour of a machine under each purchase option; absent if it was never bought so."""

    reserved: Mapping[BilledMachine, float] = field(default_factory=dict)
    savings_plan: Mapping[BilledMachine, float] = field(default_factory=dict)
    spot: Mapping[BilledMachine, float] = field(default_factory=dict)
    listed: Mapping[BilledMachine, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledFleet:
    """All machine hours of the inference charges.

    Args:
        start: First hour.
        hours: Number of hours.
        pools: The machines, most expensive first.
        rates: Prices that the bill paid.
        step_h: Length of a typical charge in hours: 1 in an hourly bill, 24 in a daily one.
    """

    start: dt.datetime
    hours: int
    pools: tuple[BilledPool, ...]
    rates: PaidRates
    step_h: float

    @property
    def hourly(self) -> bool:
        """Whether the bill shows in which hours of a day machines ran."""
        return self.step_h <= 1

    @property
    def hour_of_week(self) -> NDArray[np.int64]:
        """Hour of the week of each hour, 0 on Monday 00:00 UTC, shape (hours,)."""
        first = self.start.weekday() * 24 + self.start.hour
        return (first + np.arange(self.hours)) % (7 * 24)


def paid_share(groups: pl.DataFrame) -> dict[str, float]:
    """Return, by provider, the part of usage that is paid after discounts, credits and refunds on separate lines.

        share = (usage + reductions) / usage, between 0 and 1

    A negative unused part of a commitment corrects other unused parts, and reduces nothing else.

    Args:
        groups: Charges that are inference.
    """
    negative = pl.col("purchase").is_in([str(purchase) for purchase in _NEGATIVE])
    corrected = (pl.col("amortised_usd") < 0) & ~pl.col("unused")
    sums = groups.group_by("provider").agg(
        usage=pl.col("amortised_usd").filter(~negative & (pl.col("amortised_usd") > 0)).sum().cast(pl.Float64),
        reductions=pl.col("amortised_usd").filter(negative | corrected).sum().cast(pl.Float64),
    )
    return {
        provider or "": min(1.0, max(0.0, (usage + reductions) / usage)) if usage > 0 else 1.0
        for provider, usage, reductions in sums.rows()
    }


def machine_hours() -> pl.Expr:
    """Return whether each charge is for hours in which machines ran.

    The purchase of a commitment is not: it has neither a list price nor an amortized cost.
    """
    ran = (pl.col("list_usd") != 0) | (pl.col("amortised_usd") > 0)
    hourly = pl.col("unit").str.contains(HOURLY_UNIT).fill_null(value=False)
    return hourly & pl.col("instance_type").is_not_null() & ~pl.col("unused") & ran


def read_fleet(bill: bills.Bill, by_hour: pl.DataFrame, serving: Sequence[tuple[str, str]] = ()) -> BilledFleet | None:
    """Return the machine hours of a bill; None if no machine is counted in hours.

    Args:
        bill: The bill.
        by_hour: Its inference charges by the hour, from `bills.hourly_groups`.
        serving: Machines that served the requests of a trace, as (column, glob); empty selects those in real time.
    """
    bought = pl.col("purchase").is_in(
        [str(option) for option in (PurchaseOption.ON_DEMAND, PurchaseOption.SPOT, *COMMITMENTS)]
    )
    shape = by_hour.filter(bought & machine_hours())
    if shape.is_empty():
        return None
    first, hours = _span(bill.spans, shape)
    realtime = ~pl.col("may_wait")
    shape = shape.with_columns(
        at=(pl.col("hour") - first).dt.total_hours(),
        non_production=bills.non_production(),
        served=bills.matches_selectors(shape, serving, option="--serving") if serving else realtime,
        region=pl.col("region").fill_null(""),
        provider=pl.col("provider").fill_null(""),
    )
    share = paid_share(bills.select_inference(bill.groups))
    keys = ("provider", "region", "instance_type", "may_wait", "non_production", "served")
    pools = [_pool(key, rows, hours, share) for key, rows in shape.group_by(*keys, maintain_order=True)]
    return BilledFleet(
        start=first,
        hours=hours,
        pools=tuple(sorted(pools, key=lambda pool: -pool.usd)),
        rates=_rates(shape),
        step_h=_step_h(shape),
    )


def _span(spans: pl.DataFrame, shape: pl.DataFrame) -> tuple[dt.datetime, int]:
    """Return the first hour of the bill and the number of its hours, from all charges for at most a day.

    Longer charges do not count: a fee may be for a year. A machine did not run in the hours of this period for which it
    is not charged.
    """
    fine = spans.filter(pl.col("end") - pl.col("start") <= dt.timedelta(days=1))
    starts = (fine["start"].min(), shape["hour"].min())
    start = min(_instant(hour) for hour in starts if hour is not None)
    ends = (shape["hour"].max(), (fine["end"] - dt.timedelta(hours=1)).max())
    last = max(_instant(hour) for hour in ends if hour)
    return start, int((last - start).total_seconds() // SECONDS_PER_HOUR) + 1


def _instant(value: object) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        raise TypeError(f"expected a datetime, not {value}")
    return value


def _pool(key: tuple[object, ...], rows: pl.DataFrame, hours: int, share: Mapping[str, float]) -> BilledPool:
    provider, region, instance, may_wait, non_production, served = key
    bought = rows.filter(pl.col("purchase") == PurchaseOption.ON_DEMAND)
    covered = rows.filter(pl.col("purchase").is_in([str(purchase) for purchase in COMMITMENTS]))
    on_demand = _by_hour(bought, hours)
    usd = float(bought["amortised_usd"].sum()) * share.get(str(provider), 1.0)
    total = float(on_demand.sum())
    return BilledPool(
        machine=BilledMachine(provider=str(provider), region=str(region), instance=str(instance)),
        may_wait=bool(may_wait),
        non_production=bool(non_production),
        served=bool(served),
        on_demand=on_demand,
        usd_per_hour=max(0.0, usd) / total if total > 0 else 0.0,
        committed=_by_hour(covered, hours),
        names=_names((bought if total > 0 else rows)["tags"].drop_nulls().unique().sort()),
    )


def _by_hour(rows: pl.DataFrame, hours: int) -> Floats:
    """Sum machine hours by hour; corrections that exceed them leave zero."""
    used = np.zeros(hours)
    np.add.at(used, rows["at"].to_numpy(), rows["quantity"].fill_null(0.0).to_numpy())
    return np.maximum(used, 0.0)


def _names(tags: Iterable[str]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for text in tags:
        pairs = bills.tag_pairs(text)
        value = next((pairs[key] for key in _SERVICE_TAGS if pairs.get(key)), None)
        if value:
            names[value] = None
    return tuple(names)


def _rates(shape: pl.DataFrame) -> PaidRates:
    def paid(*options: PurchaseOption, of: str = "amortised_usd") -> dict[BilledMachine, float]:
        sums = (
            shape.filter(pl.col("purchase").is_in([str(option) for option in options]))
            .group_by("provider", "region", "instance_type")
            .agg(pl.col(of, "quantity").sum())
            .filter((pl.col("quantity") > 0) & (pl.col(of) > 0))
            .sort("provider", "region", "instance_type")
        )
        return {
            BilledMachine(provider=provider, region=region, instance=instance): usd / quantity
            for provider, region, instance, usd, quantity in sums.rows()
        }

    return PaidRates(
        reserved=paid(PurchaseOption.RESERVED, PurchaseOption.COMMITTED_USE),
        savings_plan=paid(PurchaseOption.SAVINGS_PLAN),
        spot=paid(PurchaseOption.SPOT),
        listed=paid(PurchaseOption.ON_DEMAND, *COMMITMENTS, of="list_usd"),
    )


def _step_h(shape: pl.DataFrame) -> float:
    """Return the length of the charges that most machine hours are in."""
    by_length = shape.group_by("step_h").agg(pl.col("quantity").sum()).sort("quantity", descending=True)
    return float(by_length["step_h"].item(0))
