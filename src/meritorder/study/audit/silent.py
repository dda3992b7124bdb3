"""Managed endpoints that are paid for and that nothing goes in or out of any more.

A provider charges an endpoint for its hours and, on lines of their own, for the data that goes through it: an endpoint
without such lines, in a bill that has them for others, is called by nobody.

Source: Amazon SageMaker AI, usage types Host:... (hours) and Hst:Data-Bytes-In and -Out, operation Invoke-Endpoint
(data), 2026-11.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder import bills
from meritorder.bills import Purchase
from meritorder.study.audit.pools import Fleet, Machine, machine_hours
from meritorder.units import HOURS_PER_DAY

Floats = NDArray[np.float64]

_TRAFFIC: Final = r"(?i)data-?bytes|invoke-?endpoint|invocations?|requests?"
_LONG_H: Final = 7 * HOURS_PER_DAY
"""An endpoint that was called is taken for forgotten after so many hours without a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Endpoints that are not called any more.

    Args:
        machines: By machine, on-demand machines of such endpoints in each hour, shape (hours,).
        names: By machine, the endpoints.
        called: Number of endpoints in the bill that are called.
    """

    machines: Mapping[Machine, Floats] = field(default_factory=dict)
    names: Mapping[Machine, tuple[str, ...]] = field(default_factory=dict)
    called: int = 0


def find(bill: bills.Bill, fleet: Fleet) -> Silence:
    """Return the endpoints of a bill that are not called any more; none if it has no lines of data at all."""
    traffic = (pl.col("kind") == "endpoint") & pl.col("sku").str.contains(_TRAFFIC) & ~machine_hours()
    if bill.groups.filter(traffic.fill_null(value=False)).is_empty():
        return Silence()
    named = bill.charges.filter(pl.col("resource").is_not_null())
    last_call = named.filter(traffic).group_by("resource").agg(called=pl.col("period_start").max())
    bought = (pl.col("kind") == "endpoint") & (pl.col("purchase") == Purchase.ON_DEMAND) & machine_hours()
    keys = ("provider", "region", "instance_type", "resource")
    hours = bills.hourly(named.filter(bought), *keys).join(
        last_call.collect(engine="streaming"), on="resource", how="left"
    )
    called = hours.filter(pl.col("called").is_not_null())["resource"].n_unique()
    if not called:
        return Silence()
    until = hours["hour"].max()
    long_ago = pl.col("called").is_null() | (until - pl.col("called") >= pl.duration(hours=_LONG_H))
    quiet = hours.filter(long_ago & (pl.col("called").is_null() | (pl.col("hour") > pl.col("called"))))
    machines: dict[Machine, Floats] = {}
    names: dict[Machine, tuple[str, ...]] = {}
    for (provider, region, instance), rows in quiet.group_by("provider", "region", "instance_type"):
        machine = Machine(provider=str(provider or ""), region=str(region or ""), instance=str(instance))
        at = (rows["hour"] - fleet.start).dt.total_hours().to_numpy()
        inside = (at >= 0) & (at < fleet.hours)
        machines[machine] = np.zeros(fleet.hours)
        np.add.at(machines[machine], at[inside], rows["quantity"].to_numpy()[inside])
        names[machine] = tuple(rows["resource"].unique().sort())
    return Silence(machines=machines, names=names, called=called)
