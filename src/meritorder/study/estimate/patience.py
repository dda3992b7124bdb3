"""What a month costs by how long the requests that can wait have."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from meritorder.catalog.tokens import cost_usd
from meritorder.offers import TokenPrice
from meritorder.records.estimation import PatiencePoint
from meritorder.study.compare.compare import SearchedTrace
from meritorder.study.compare.token_only import waiting_usd
from meritorder.study.fleet.fleets import Trial, batch_fleet, mixed_fleet
from meritorder.study.fleet.load import NO_DEADLINE, TraceLoad
from meritorder.study.fleet.machines import max_backfill
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

_PATIENCE_S: Final = (SECONDS_PER_HOUR, 4 * SECONDS_PER_HOUR, 12 * SECONDS_PER_HOUR, SECONDS_PER_DAY)
# Deadlines that differ by less are the same, but for rounding.
_SAME_S: Final = 1e-3
# Where the longest patience saves no more than this beside the shortest, those between are not simulated.
_ALIKE: Final = 0.02


def price_patience(
    searched: SearchedTrace | None,
    load: TraceLoad,
    prices: Sequence[TokenPrice],
    standard: TokenPrice | None,
    *,
    usd_factor: float,
    at_once_usd: float,
) -> list[PatiencePoint]:
    """Return the cost by patience, without waiting first; empty if nothing can wait.

    Args:
        searched: The cheapest fleets of the traffic; None for a model that is only sold as tokens.
        load: The requests with the share that can wait.
        prices: Token prices of the model.
        standard: The standard price that requests cost which cannot wait.
        usd_factor: Dollars of a month / dollars of these requests.
        at_once_usd: Dollars of a month on machines without waiting, which waiting never exceeds.
    """
    waits = load.deferrable
    if not waits.any():
        return []
    patiences_s = (0.0, *_PATIENCE_S)
    machines_usd = _machines_usd(searched) if searched else {}
    points = []
    for patience_s in patiences_s:
        machines = tokens = None
        if searched:
            machines = min(machines_usd[patience_s] * usd_factor, at_once_usd)
        if standard:
            at_once = cost_usd(standard, load.input_tokens, load.cached_tokens, load.output_tokens)
            waiting = waiting_usd(prices, _with_patience(load, patience_s))
            tokens = float(np.minimum(waiting, at_once).sum()) * usd_factor
        share = float(waits.mean())
        points.append(PatiencePoint(share=share, patience_s=patience_s, machines_usd=machines, tokens_usd=tokens))
    return points


def _machines_usd(searched: SearchedTrace) -> dict[float, float]:
    """Return the cost by patience on the machines of the mix; more patience never costs more."""
    load, result = searched.load, searched.result
    costs = {0.0: result.realtime.usd}
    fleet = _waiting_fleet(searched)
    shortest, *between, longest = _PATIENCE_S
    for patience_s in (shortest, longest, *between):
        waiting = _with_patience(load, patience_s)
        if np.allclose(waiting.deadline_s, load.deadline_s, rtol=0, atol=_SAME_S):
            costs[patience_s] = result.mix.usd
        elif patience_s in between and costs[longest] >= (1 - _ALIKE) * costs[shortest]:
            costs[patience_s] = costs[shortest]
        else:
            trial = fleet(waiting)
            costs[patience_s] = trial.usd if trial.feasible else result.realtime.usd
    patiences_s = sorted(costs)
    least = np.minimum.accumulate([costs[patience_s] for patience_s in patiences_s]).tolist()
    return dict(zip(patiences_s, least, strict=True))


def _waiting_fleet(searched: SearchedTrace) -> Callable[[TraceLoad], Trial]:
    """Return what serves the requests at another patience: the machines of the mix, or of batch beside real time."""
    load, result = searched.load, searched.result
    batch_machine = result.batch.machine
    if load.deferrable.all():
        return partial(batch_fleet, batch_machine)
    base, backfill = result.realtime_alone or result.realtime, None
    if len(result.mix.pools) > 1:
        base, (batch_machine, _) = result.mix, result.mix.pools[1]
        backfill = base.pools[0][1].backfill
    else:
        backfill = max_backfill(base.machine, load)
    return lambda waiting: mixed_fleet(base, batch_machine, waiting, backfill)


def _with_patience(load: TraceLoad, patience_s: float) -> TraceLoad:
    """Return the requests, those that can wait with this patience."""
    return replace(load, deadline_s=np.where(load.deferrable, load.arrived_s + patience_s / load.pace, NO_DEADLINE))
