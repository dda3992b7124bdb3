"""The known arrangements of the requests of a plan: what `compare` finds, for each model and set of permissions.

The cheapest real-time fleets are the baseline of the plan; the cheapest mixes are a plan that it must not exceed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog import Catalog
from meritorder.domain import Access, Model
from meritorder.errors import CatalogError, InfeasibleError
from meritorder.planner.model.supply import Holdings
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.fleet.search import Search, SearchResult, build_search
from meritorder.study.plan.held import left_after, use_held

Floats = NDArray[np.float64]

# Machines below this share of one are rounding.
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrangements:
    """The known arrangements of requests that may share machines.

    Args:
        name: Model, or the names of the workloads with the same permissions.
        model: The model that serves them.
        load: The requests.
        found: The cheapest fleet of each arrangement.
        search: The search that found them.
    """

    name: str
    model: str
    load: TraceLoad
    found: SearchResult
    search: Search

    @property
    def baseline(self) -> Trial:
        """The cheapest real-time fleet, or the present one."""
        return self.found.baseline

    @property
    def cheapest(self) -> Trial:
        """The cheapest arrangement found of both lanes."""
        return self.found.mix


def find_arrangements(
    catalog: Catalog,
    loads: Mapping[Model, TraceLoad],
    options: CompareOptions,
    progress: Progress,
    holdings: Holdings | None = None,
) -> list[Arrangements]:
    """Search for the known arrangements of each model; workloads that may run in different places are served apart.

    Args:
        catalog: Prices, hardware, models.
        loads: Requests by model.
        options: What may be rented, and the present fleet if there is one.
        progress: Receives each step.
        holdings: What is held already; each machine, and all savings plans, are used by one group.

    Raises:
        MeritorderError: No machine serves some requests, or none within their SLO.
    """
    groups: list[Arrangements] = []
    left = holdings or Holdings()

    def add(name: str, permitted: Catalog, model: Model, requests: TraceLoad) -> None:
        nonlocal left
        search = build_search(permitted, model, requests, options, progress)
        found = search.run()
        if left.reserved or left.savings_plans:
            found = use_held(
                found, left, catalog=permitted, model=model, load=requests, options=options, progress=progress
            )
            left = left_after(left, [found.baseline, found.mix])
        groups.append(Arrangements(name=name, model=model.id, load=requests, found=found, search=search))

    for model, load in loads.items():
        if len(load.accesses) == 1 or options.replicas is not None:
            add(model.id, _permitted(catalog, load.accesses), model, load)
            continue
        for index, access in enumerate(load.accesses):
            requests = load.select(load.access == index)
            if not len(requests):
                continue
            names = " + ".join(workload.name for workload in load.workloads if workload.access == access)
            try:
                add(names, _permitted(catalog, [access]), model, requests)
            except CatalogError as error:
                raise InfeasibleError(
                    f"no on-demand machine may serve {names} for {model.id}, so there is no baseline for it",
                    where="--workloads",
                    fix="loosen allow and deny, or name more hardware and providers",
                ) from error
    return groups


def _permitted(catalog: Catalog, accesses: Iterable[Access]) -> Catalog:
    """Return the catalog with the offers that every one of the accesses permits."""
    rules = tuple(accesses)
    offers = (
        offer
        for offer in catalog.offers
        if all(access.permits(offer.provider, offer.region, offer.hardware) for access in rules)
    )
    return replace(catalog, offers=tuple(offers))


def baseline_label(groups: Iterable[Arrangements]) -> str:
    """Return the description of the baseline, by group if there are several."""
    labels = {group.name: group.baseline.label for group in groups}
    if len(labels) == 1:
        return next(iter(labels.values()))
    return "; ".join(f"{name}: {label}" for name, label in labels.items())
