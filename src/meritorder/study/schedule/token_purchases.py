"""Where a plan may buy tokens, which requests of a trace it buys, and what they cost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog import Catalog
from meritorder.catalog.tokens import token_api, token_prices
from meritorder.domain import Model, Tier
from meritorder.errors import CatalogError
from meritorder.gateway import config_file
from meritorder.gateway.config import VenueTable
from meritorder.offers import TokenPrice
from meritorder.policy.schedule import spread_evenly
from meritorder.records.planfile import PlanRoute
from meritorder.records.tokenapi import TokenApi
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.schedule.demand import (
    RequestClass,
    request_classes,
    slot_index,
    tokens_usd,
    venue_name,
)
from meritorder.units import utc

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def purchasable(model: Model, catalog: Catalog, config: Path | None) -> list[TokenPrice]:
    """Return the token prices of a model, cheapest first: of all providers, or of the venues of a configuration.

    Args:
        model: The model.
        catalog: Prices, those that the user adds among them.
        config: Configuration of a gateway, whose own prices replace those of a provider; None for all providers.

    Raises:
        ConfigError: The configuration is invalid.
    """
    listed = token_prices(model, own=catalog.tokens)
    if config is None:
        return list(listed)
    venues = config_file.read(config).venue
    as_of = f"{utc(config.stat().st_mtime):%Y-%m-%d}"
    found = [
        price
        for venue in venues
        if not (venue.command or venue.is_machine or venue.reads_load)
        for name, own_name in venue.served().items()
        if _is_named(catalog, model, name, own_name)
        for price in _venue_prices(venue, own_name, model, listed, as_of=as_of, source=str(config))
    ]
    return sorted(found, key=lambda price: 3 * price.input_usd_per_mtok + price.output_usd_per_mtok)


def _is_named(catalog: Catalog, model: Model, *names: str) -> bool:
    for name in names:
        try:
            if catalog.find_model(name) == model:
                return True
        except CatalogError:  # a name of the user's own
            continue
    return False


def _venue_prices(
    venue: VenueTable, own_name: str, model: Model, listed: Sequence[TokenPrice], *, as_of: str, source: str
) -> Iterator[TokenPrice]:
    """Yield the prices at which a venue sells: what it states, else what the provider at its address does."""
    at_venue = [
        price for price in listed if token_api(price, venue_name(price)).is_at(venue.name, venue.url, [own_name])
    ]
    known = at_venue[0] if at_venue else None
    stated_prices = {Tier.STANDARD: venue.price}
    if venue.batch:
        stated_prices[Tier.BATCH] = config_file.batch_price_of(venue)
    for tier, stated in stated_prices.items():
        if stated is None:
            yield from (price for price in at_venue if price.tier is tier)
        else:
            cached = stated.input_usd_per_mtok if stated.cached_usd_per_mtok is None else stated.cached_usd_per_mtok
            yield TokenPrice(
                provider=known.provider if known else venue.name,
                model=model.id,
                provider_model=known.provider_model if known else own_name,
                tier=tier,
                input_usd_per_mtok=float(stated.input_usd_per_mtok),
                cached_usd_per_mtok=float(cached),
                output_usd_per_mtok=float(stated.output_usd_per_mtok),
                as_of=as_of,
                source=source,
            )


def token_apis(routes: Sequence[PlanRoute], prices: Mapping[str, TokenPrice]) -> list[TokenApi]:
    """Return the tiers that a plan buys; of a batch tier also the standard one, for what is sent one by one.

    Args:
        routes: Venues of each workload by slot.
        prices: Token prices by venue.
    """
    lanes: dict[str, set[str]] = {}
    for route in routes:
        if route.kind == "tier" and any(route.flow):
            lanes.setdefault(route.venue, set()).add(route.lane)
    for bought in [prices[venue] for venue in lanes]:
        standard = venue_name(replace(bought, tier=Tier.STANDARD))
        if standard in prices:
            lanes.setdefault(standard, set())
    return [token_api(prices[venue], venue, sorted(own)) for venue, own in lanes.items()]


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
