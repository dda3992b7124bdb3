"""Commitments as small weekly rungs: suggested with break-even, use and regret, never applied."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog import Catalog
from meritorder.domain import PricingModel
from meritorder.offers import Offer
from meritorder.records.autopilot import Rung
from meritorder.records.planfile import PREPAID
from meritorder.study.autopilot.judge import Judged, offers_of
from meritorder.units import SECONDS_PER_HOUR, SECONDS_PER_WEEK

Floats = NDArray[np.float64]

RUNG_SHARE: Final = 0.1
"""Share of the machines that are worth committing to that one week's rung has, at least one."""
_TERMS: Final = ("1y",)
_HOURS_PER_WEEK: Final = SECONDS_PER_WEEK / SECONDS_PER_HOUR
_MODELS: Final = frozenset({PricingModel.RESERVED, PricingModel.COMMITTED_USE})


def suggest_commitments(in_force: Judged, catalog: Catalog) -> list[Rung]:
    """Return this week's rung for each kind of machine that runs on demand for longer than its break-even.

    The k-th machine is used while at least k run; it is worth a commitment if its use is above

        break-even = price of the commitment / price on demand

    Args:
        in_force: The plan in force, simulated on recent days.
        catalog: Prices.
    """
    rungs = []
    for pool in in_force.plan.pools:
        rows = [row for row in in_force.plan.schedule if row.pool == pool.name and row.pricing_model not in PREPAID]
        running = _running(in_force, pool.name, pool.replicas)
        if not rows or running is None:
            continue
        on_demand_usd = min(row.usd_per_hour for row in rows)
        offers = [
            offer for offer in offers_of(pool, catalog) if offer.pricing_model in _MODELS and offer.term in _TERMS
        ]
        best = min(offers, key=lambda offer: offer.usd_per_hour, default=None)
        if best is not None and 0 < best.usd_per_hour < on_demand_usd:
            rungs += list(_rung(best, pool.machine, on_demand_usd, running))
    return rungs


def purchase_list(rungs: Sequence[Rung]) -> str:
    """Return the rungs as CSV, with the page of each price."""
    text = io.StringIO()
    writer = csv.DictWriter(text, Rung.__struct_fields__, lineterminator="\n")
    writer.writeheader()
    for rung in rungs:
        writer.writerow({name: getattr(rung, name) for name in Rung.__struct_fields__})
    return text.getvalue()


def _running(judged: Judged, pool: str, replicas: int) -> Floats | None:
    """Return the machines of a pool that are not paid for in any case, by bin of time; None if none ran."""
    total: Floats | None = None
    for outcome in judged.replay.models.values():
        if outcome.result is None:
            continue
        for row, paid_s in zip(outcome.schedules, outcome.result.capacity_bins_s, strict=True):
            if row.pool == pool and row.pricing_model not in PREPAID:
                machines = np.asarray(paid_s) / outcome.result.bin_s / replicas
                total = machines if total is None else total + machines
    return total


def _rung(offer: Offer, machine: str, on_demand_usd: float, running: Floats) -> Iterator[Rung]:
    break_even = offer.usd_per_hour / on_demand_usd
    numbers = np.arange(1, math.floor(float(running.max()) + 1e-9) + 1)
    uses = _uses(running, numbers)
    worth = int((uses > break_even).sum())
    if not worth:
        return
    machines = max(1, math.floor(RUNG_SHARE * worth))
    use, halved = uses[:machines], _uses(running / 2, numbers[:machines])
    saved, lost = (on_demand_usd * shares - offer.usd_per_hour for shares in (use, halved))
    yield Rung(
        provider=offer.provider,
        machine=machine,
        region=offer.region,
        pricing_model=offer.pricing_model.value,
        term=offer.term,
        machines=machines,
        usd_per_hour=offer.usd_per_hour,
        on_demand_usd_per_hour=on_demand_usd,
        break_even_use=break_even,
        use=float(use.mean()),
        saves_usd_per_week=float(saved.sum()) * _HOURS_PER_WEEK,
        regret_usd_per_week=float(np.maximum(-lost, 0.0).sum()) * _HOURS_PER_WEEK,
        source=offer.source,
    )


def _uses(running: Floats, numbers: NDArray[np.int64]) -> Floats:
    """Return the share of the time in which each machine runs, shape (machines,)."""
    return np.asarray(np.clip(running[None, :] - numbers[:, None] + 1, 0.0, 1.0).mean(axis=1))
