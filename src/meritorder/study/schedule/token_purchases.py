"""Which requests of a trace a plan buys as tokens, and what they cost."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from meritorder.offers import TokenPrice
from meritorder.policy.schedule import spread_evenly
from meritorder.records.planfile import PlanRoute
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.schedule.demand import RequestClass, request_classes, slot_index, tokens_usd

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def buy_tokens(
    routes: Sequence[PlanRoute],
    load: TraceLoad,
    prices: Mapping[str, TokenPrice],
    *,
    slot_s: float,
    model: str,
) -> tuple[Bools, dict[str, float]]:
    """Return which requests are bought as tokens, shape (requests,), and their cost by venue.

    Args:
        routes: Venues of each workload by slot.
        load: The requests.
        prices: Token prices by venue.
        slot_s: Length of a slot.
        model: The model, if names of workloads include it; else empty.
    """
    bought = np.zeros(len(load), np.bool_)
    usd: dict[str, float] = {}
    if not any(route.kind == "tier" for route in routes):
        return bought, usd
    routes_of: dict[str, list[PlanRoute]] = {}
    for route in routes:
        routes_of.setdefault(route.workload, []).append(route)
    for group in request_classes(load, slot_s, model):
        own = routes_of.get(group.name, [])
        if not any(route.kind == "tier" for route in own):
            continue
        flows = np.array([route.flow for route in own])
        slot = _serving_slots(flows, load, group, slot_s)
        shares = np.divide(flows, flows.sum(axis=0), out=np.zeros_like(flows), where=flows.sum(axis=0) > 0)
        upper = np.cumsum(shares, axis=0)[:, slot]
        position = spread_evenly(np.arange(len(group.members), dtype=np.float64))
        choice = np.minimum((position >= upper).sum(axis=0), len(own) - 1)
        for index, route in enumerate(own):
            members = group.members[choice == index]
            if route.kind == "tier" and len(members):
                bought[members] = True
                cost_usd = float(tokens_usd(prices[route.venue], load, members).sum())
                usd[route.venue] = usd.get(route.venue, 0.0) + cost_usd
    return bought, usd


def _serving_slots(flows: NDArray[np.float64], load: TraceLoad, group: RequestClass, slot_s: float) -> Ints:
    """Return the slot in which the plan serves each request: its own, or by its turn in the backlog."""
    members, slots = group.members, flows.shape[1]
    own = slot_index(load.arrived_s[members], slot_s, slots)
    if not group.deferrable:
        return own
    served = np.cumsum(np.sum(flows, axis=0))
    weight = np.cumsum(load.input_tokens[members] + load.output_tokens[members].astype(float))
    position = weight / weight[-1] * served[-1]
    slot = np.minimum(np.searchsorted(served, position * (1 - 1e-9)), slots - 1)
    return np.asarray(np.maximum(slot, own), np.int64)
