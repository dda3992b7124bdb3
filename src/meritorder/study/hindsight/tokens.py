"""What may be bought as tokens of requests that can wait, and what it costs."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog.tokens import cost_usd, turnaround_s
from meritorder.offers import TokenPrice
from meritorder.study.compare.arrangements import price_tokens
from meritorder.study.compare.token_only import patience_s
from meritorder.study.fleet.load import TraceLoad

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPurchase:
    """Requests that are bought as tokens.

    Args:
        members: Which of the requests, shape (requests,).
        prices: Where each workload is bought, by its index.
        usd: What they cost.
    """

    members: Bools
    prices: Mapping[int, TokenPrice]
    usd: float

    def usd_by_request(self, load: TraceLoad) -> Floats:
        """Return what each request costs, zero if it is not bought, shape (requests,)."""
        usd = np.zeros(len(load))
        for workload, price in self.prices.items():
            bought = np.flatnonzero(self.members & (load.workload == workload))
            usd[bought] = cost_usd(
                price, load.input_tokens[bought], load.cached_tokens[bought], load.output_tokens[bought]
            )
        return usd


def token_purchases(load: TraceLoad, prices: Sequence[TokenPrice], tiers: Collection[str]) -> Iterator[TokenPurchase]:
    """Yield what may be bought: every workload that can wait for the answers, and each of several by itself.

    Args:
        load: The requests.
        prices: Token prices of their model.
        tiers: Tiers that may be bought.
    """
    single: dict[int, TokenPurchase] = {}
    for index in np.unique(load.workload[load.deferrable]).tolist():
        members = load.deferrable & (load.workload == index)
        requests, access = load.select(members), load.workloads[index].access
        shortest_s = float(patience_s(requests).min())
        usd = {
            price: price_tokens(price, requests)
            for price in prices
            if price.tier in tiers and access.permits(price.provider, "") and turnaround_s(price) <= shortest_s
        }
        if usd:
            price = min(usd, key=usd.__getitem__)
            single[index] = TokenPurchase(members=members, prices={index: price}, usd=usd[price])
    if single:
        yield TokenPurchase(
            members=np.any([purchase.members for purchase in single.values()], axis=0),
            prices={index: purchase.prices[index] for index, purchase in single.items()},
            usd=sum(purchase.usd for purchase in single.values()),
        )
    if len(single) > 1:
        yield from single.values()
