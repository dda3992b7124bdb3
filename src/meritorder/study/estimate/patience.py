"""What a month costs by how long the requests that can wait have."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from meritorder.catalog.tokens import cost_usd
from meritorder.offers import TokenPrice
from meritorder.records.estimation import PatiencePoint
from meritorder.study.compare.compare import SearchedTrace
from meritorder.study.compare.token_only import waiting_usd
from meritorder.study.fleet.fleets import machines_used
from meritorder.study.fleet.load import NO_DEADLINE, TraceLoad
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

_PATIENCE_S: Final = (SECONDS_PER_HOUR, 4 * SECONDS_PER_HOUR, 12 * SECONDS_PER_HOUR, SECONDS_PER_DAY)


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
    points = []
    searches = None
    if searched:
        result = searched.result
        # Other machines for what waits were ruled out at the stated patience.
        mix = result.mix if len(result.mix.pools) > 1 else result.batch
        used = machines_used(mix)[-1:]
        searches = replace(searched.search, batch_machines=used, tried=[])
    for patience_s in (0.0, *_PATIENCE_S):
        machines = tokens = None
        deadline_s = np.where(waits, load.arrived_s + patience_s, NO_DEADLINE)
        with_patience = replace(load, deadline_s=deadline_s, verdict_suffices=True)
        if searched and searches:
            found = searched.result.realtime
            if np.array_equal(deadline_s, load.deadline_s):
                found = min(found, searched.result.mix, key=lambda trial: trial.usd)
            elif patience_s:
                _, found = replace(searches, load=with_patience).best_mix(found)
            machines = min(found.usd * usd_factor, at_once_usd)
        if standard:
            at_once = cost_usd(standard, load.input_tokens, load.cached_tokens, load.output_tokens)
            tokens = float(np.minimum(waiting_usd(prices, with_patience), at_once).sum()) * usd_factor
        share = float(waits.mean())
        points.append(PatiencePoint(share=share, patience_s=patience_s, machines_usd=machines, tokens_usd=tokens))
    return points
