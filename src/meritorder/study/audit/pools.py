"""Machine hours of a bill, hour by hour: what the findings take savings from.

A pool is machines of one kind at one place under one promise. Prices are those really paid: discounts, credits and
refunds that the bill lists as lines of their own are spread over what they are on.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder import bills
from meritorder.bills import COMMITMENTS, Purchase
from meritorder.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]

HOURLY_UNIT: Final = r"(?i)^(1 ?)?(instance[- ]?)?(h|hrs?|hours?)$"
"""Units in which machines are counted by the hour."""

_NEGATIVE: Final = (Purchase.DISCOUNT, Purchase.CREDIT, Purchase.REFUND, Purchase.ADJUSTMENT)
_SERVICE_TAGS: Final = ("service", "app", "application", "component", "workload", "name", "project", "team")
_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Kind and place of a machine.

    Args:
        provider: Who rents it out.
        region: Where it stands, "" where the bill does not say.
        instance: The provider's name of it.
    """

    provider: str
    region: str
    instance: str

    @property
    def key(self) -> str:
        """Its name in a plan, as `plan.offers.machine_of` makes it of an offer."""
        return " ".join(part for part in (self.provider, self.region, self.instance) if part)

    @property
    def label(self) -> str:
        """Short name for texts."""
        return f"{self.instance} in {self.region}" if self.region else self.instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Machines of one kind at one place under one promise.

    Args:
        machine: Kind and place; findings may move it.
        may_wait: Whether tags say that its work may wait.
        non_production: Whether tags say that it is no production system.
        served: Whether it served the requests of the trace.
        on_demand: Machines bought on demand in each hour, shape (hours,).
        usd_per_hour: What one of them costs on average.
        committed: Machines under commitments in each hour, shape (hours,); their cost is sunk.
        names: What it runs, by its tags.
        on_spot: Whether a finding has put its on-demand hours on spot.
    """

    machine: Machine
    may_wait: bool
    non_production: bool
    served: bool
    on_demand: Floats
    usd_per_hour: float
    committed: Floats
    names: tuple[str, ...] = ()
    on_spot: bool = False

    def at(self, usd: float) -> "Pool":
        """Return the same hours at another cost."""
        return replace(self, usd_per_hour=usd / float(self.on_demand.sum()))

    @property
    def usd(self) -> float:
        """What its on-demand hours cost."""
        return float(self.on_demand.sum()) * self.usd_per_hour

    @property
    def machines(self) -> Floats:
        """Machines in each hour, bought either way."""
        return np.asarray(self.on_demand + self.committed)

    @property
    def serves(self) -> str:
        """What it runs, for texts."""
        more = f" and {len(self.names) - _MOST_NAMED} more" if len(self.names) > _MOST_NAMED else ""
        return f" ({', '.join(self.names[:_MOST_NAMED])}{more})" if self.names else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the bill itself paid for an hour of a machine; a machine that is not there was never bought so."""

    reserved: Mapping[Machine, float] = field(default_factory=dict)
    savings_plan: Mapping[Machine, float] = field(default_factory=dict)
    spot: Mapping[Machine, float] = field(default_factory=dict)
    listed: Mapping[Machine, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All machine hours of the inference charges.

    Args:
        start: First hour.
        hours: Number of hours.
        pools: The machines.
        rates: Prices that the bill paid.
        step_h: Time of a typical charge in hours: 1 in an hourly bill, 24 in a daily one.
    """

    start: dt.datetime
    hours: int
    pools: tuple[Pool, ...]
    rates: Rates
    step_h: float

    @property
    def hourly(self) -> bool:
        """Whether the bill tells in which hours of a day machines ran."""
        return self.step_h <= 1

    @property
    def hour_of_week(self) -> NDArray[np.int64]:
        """Hour of the week of each hour, 0 on Monday 00:00 UTC, shape (hours,)."""
        first = self.start.weekday() * 24 + self.start.hour
        return (first + np.arange(self.hours)) % (7 * 24)


def paid_share(groups: pl.DataFrame) -> dict[str, float]:
    """Return, by provider, what is left of each dollar of usage after discounts, credits and refunds of their own line.

    Args:
        groups: Charges that are inference.
    """
    negative = pl.col("purchase").is_in([str(purchase) for purchase in _NEGATIVE])
    sums = groups.group_by("provider").agg(
        usage=pl.col("amortised_usd").filter(~negative & (pl.col("amortised_usd") > 0)).sum().cast(pl.Float64),
        less=pl.col("amortised_usd").filter(negative | (pl.col("amortised_usd") < 0)).sum().cast(pl.Float64),
    )
    return {
        provider or "": min(1.0, max(0.0, (usage + less) / usage)) if usage > 0 else 1.0
        for provider, usage, less in sums.rows()
    }


def machine_hours() -> pl.Expr:
    """Return whether each charge is of machines that ran, counted in hours.

    To buy a commitment is no use of a machine: it has neither a list price nor an amortised cost.
    """
    ran = (pl.col("list_usd") != 0) | (pl.col("amortised_usd") > 0)
    hourly = pl.col("unit").str.contains(HOURLY_UNIT).fill_null(value=False)
    return hourly & pl.col("instance_type").is_not_null() & ~pl.col("unused") & ran


def read(bill: bills.Bill, by_hour: pl.DataFrame, serving: Sequence[tuple[str, str]] = ()) -> Fleet | None:
    """Return the machine hours of a bill; None if it has none that are counted in hours.

    Args:
        bill: The bill.
        by_hour: Its inference charges by the hour, as `bills.by_hour` makes them.
        serving: Machines that served the requests of a trace, as (column, glob); empty takes those in real time.
    """
    bought = pl.col("purchase").is_in([str(p) for p in (Purchase.ON_DEMAND, Purchase.SPOT, *COMMITMENTS)])
    shape = by_hour.filter(bought & machine_hours())
    if shape.is_empty():
        return None
    first, hours = _span(bill.spans, shape)
    realtime = ~pl.col("may_wait")
    shape = shape.with_columns(
        at=(pl.col("hour") - first).dt.total_hours(),
        non_production=bills.non_production(),
        served=bills.chosen(shape, serving, option="--serving").fill_null(value=False) if serving else realtime,
        region=pl.col("region").fill_null(""),
        provider=pl.col("provider").fill_null(""),
    ).filter(pl.col("at").is_between(0, hours - 1))
    share = paid_share(bills.inference(bill.groups))
    keys = ("provider", "region", "instance_type", "may_wait", "non_production", "served")
    pools = [_pool(key, rows, hours, share) for key, rows in shape.group_by(*keys, maintain_order=True)]
    return Fleet(
        start=first,
        hours=hours,
        pools=tuple(sorted(pools, key=lambda pool: -pool.usd)),
        rates=_rates(shape),
        step_h=_step_h(shape),
    )


def _span(spans: pl.DataFrame, shape: pl.DataFrame) -> tuple[dt.datetime, int]:
    """Return the first hour of the bill and how many it has, by all that is charged by the day or finer.

    A machine that ran for a part of this time stood for the rest of it. Fees and purchases do not count: one may be
    for a year.
    """
    fine = spans.filter(pl.col("end") - pl.col("start") <= dt.timedelta(days=1))
    start = min(_instant(each) for each in (fine["start"].min(), shape["hour"].min()) if each is not None)
    last = shape["hour"].max(), (fine["end"] - dt.timedelta(hours=1)).max()
    return start, max(int((_instant(each) - start).total_seconds() // SECONDS_PER_HOUR) for each in last if each) + 1


def _instant(value: object) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        raise TypeError(f"an hour is an instant, not {value}")
    return value


def _pool(key: tuple[object, ...], rows: pl.DataFrame, hours: int, share: Mapping[str, float]) -> Pool:
    provider, region, instance, may_wait, non_production, served = key
    bought = rows.filter(pl.col("purchase") == Purchase.ON_DEMAND)
    covered = rows.filter(pl.col("purchase").is_in([str(purchase) for purchase in COMMITMENTS]))
    on_demand = _by_hour(bought, hours)
    usd = float(bought["amortised_usd"].sum()) * share.get(str(provider), 1.0)
    total = float(on_demand.sum())
    return Pool(
        machine=Machine(provider=str(provider), region=str(region), instance=str(instance)),
        may_wait=bool(may_wait),
        non_production=bool(non_production),
        served=bool(served),
        on_demand=on_demand,
        usd_per_hour=max(0.0, usd) / total if total > 0 else 0.0,
        committed=_by_hour(covered, hours),
        names=_names((bought if total > 0 else rows)["tags"].drop_nulls().unique().sort()),
    )


def _by_hour(rows: pl.DataFrame, hours: int) -> Floats:
    """Add up machine hours by hour; what a correction takes back below zero is no machine."""
    used = np.zeros(hours)
    np.add.at(used, rows["at"].to_numpy(), rows["quantity"].fill_null(0.0).to_numpy())
    return np.maximum(used, 0.0)


def _names(tags: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for text in tags:
        pairs = bills.tag_pairs(text)
        value = next((pairs[key] for key in _SERVICE_TAGS if pairs.get(key)), None)
        if value:
            found[value] = None
    return tuple(found)


def _rates(shape: pl.DataFrame) -> Rates:
    def paid(*purchases: Purchase, of: str = "amortised_usd") -> dict[Machine, float]:
        sums = (
            shape.filter(pl.col("purchase").is_in([str(purchase) for purchase in purchases]))
            .group_by("provider", "region", "instance_type")
            .agg(pl.col(of, "quantity").sum())
            .filter((pl.col("quantity") > 0) & (pl.col(of) > 0))
        )
        return {
            Machine(provider=provider, region=region, instance=instance): usd / quantity
            for provider, region, instance, usd, quantity in sums.rows()
        }

    return Rates(
        reserved=paid(Purchase.RESERVED, Purchase.COMMITTED_USE),
        savings_plan=paid(Purchase.SAVINGS_PLAN),
        spot=paid(Purchase.SPOT),
        listed=paid(Purchase.ON_DEMAND, *COMMITMENTS, of="list_usd"),
    )


def _step_h(shape: pl.DataFrame) -> float:
    """Return the time that most machine hours are charged by."""
    by_length = shape.group_by("step_h").agg(pl.col("quantity").sum()).sort("quantity", descending=True)
    return float(by_length["step_h"].item(0))
