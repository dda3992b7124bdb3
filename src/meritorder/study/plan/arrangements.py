"""The known arrangements of the requests of a plan: what `compare` finds, for each model and set of permissions.

The cheapest real-time fleets are the baseline of the plan; the cheapest mixes are a plan that it must not exceed.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog import Catalog
from meritorder.domain import Access, Model
from meritorder.errors import CatalogError, InfeasibleError, MeritorderError
from meritorder.planner.model.supply import Holdings
from meritorder.records.planproof import Credit
from meritorder.study.bound.parts import partitions
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.fleet.result import SearchResult
from meritorder.study.fleet.search import Search, build_search
from meritorder.study.plan.held import left_after, use_held

Floats = NDArray[np.float64]

# Of more accesses not every set is searched: they are served apart, or all together.
_MAX_ACCESSES_PARTED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrangements:
    """The known arrangements of requests that may share machines.

    Args:
        name: Model, or the names of the workloads with the same permissions.
        served_by: The model that serves them.
        permitted: The catalog with the machines that all of them may use.
        load: The requests.
        found: The cheapest fleet of each arrangement.
        search: The search that found them.
    """

    name: str
    served_by: Model
    permitted: Catalog
    load: TraceLoad
    found: SearchResult
    search: Search

    @property
    def model(self) -> str:
        """Id of the model."""
        return self.served_by.id

    @property
    def baseline(self) -> Trial:
        """The cheapest real-time fleet, or the present one."""
        return self.found.baseline

    @property
    def cheapest(self) -> Trial:
        """The cheapest arrangement found of both lanes."""
        return self.found.mix


@dataclass(frozen=True, kw_only=True)
class KnownArrangements:
    """The known arrangements of all requests of a plan.

    Args:
        partitions: By model, the ways to part its requests into those that share machines.
    """

    partitions: list[list[list[Arrangements]]]

    def cheapest(self, usd: Callable[[Arrangements], float]) -> list[Arrangements]:
        """Return the requests that share machines, parted so that they cost least, by what each part costs."""
        parted = (min(partitions, key=lambda parts: sum(map(usd, parts))) for partitions in self.partitions)
        return [group for parts in parted for group in parts]

    @property
    def everything(self) -> list[Arrangements]:
        """The arrangements of every part of every partition."""
        return list(dict.fromkeys(part for partitions in self.partitions for parts in partitions for part in parts))

    @cached_property
    def groups(self) -> list[Arrangements]:
        """Requests that share machines, so that their mixes cost least."""
        return self.cheapest(lambda part: kept_usd(part.cheapest))

    @cached_property
    def realtime(self) -> list[Arrangements]:
        """Requests that share machines, so that their real time costs least."""
        return self.cheapest(lambda part: kept_usd(part.baseline))

    @property
    def baseline_usd(self) -> float:
        """Cost of the cheapest real time."""
        return sum(group.baseline.usd for group in self.realtime)

    @property
    def baseline(self) -> str:
        """Description of the cheapest real time, by group if there are several."""
        labels = {group.name: group.baseline.label for group in self.realtime}
        if len(labels) == 1:
            return next(iter(labels.values()))
        return "; ".join(f"{name}: {label}" for name, label in labels.items())

    @property
    def credited(self) -> list[Credit]:
        """What each cause saves over all groups; they add up to the difference between real time and the mixes."""
        usd: dict[str, float] = {}
        for credit in (credit for group in self.groups for credit in group.found.credited):
            usd[credit.cause] = usd.get(credit.cause, 0.0) + credit.usd
        apart_usd = self.baseline_usd - sum(group.baseline.usd for group in self.groups)
        if apart_usd:
            usd["waiting"] = usd.get("waiting", 0.0) + apart_usd
        return [Credit(cause=cause, usd=saved_usd) for cause, saved_usd in usd.items() if saved_usd]


def find_arrangements(
    catalog: Catalog,
    loads: Mapping[Model, TraceLoad],
    options: CompareOptions,
    progress: Progress,
    holdings: Holdings | None = None,
) -> KnownArrangements:
    """Search for the known arrangements of each model.

    Workloads that may run in different places are served apart, or share machines that all of them may use: whichever
    costs less, so that a workloads file that denies more is never cheaper.

    Args:
        catalog: Prices, hardware, models.
        loads: Requests by model.
        options: What may be rented, and the present fleet if there is one.
        progress: Receives each step.
        holdings: What is held already; each machine, and all savings plans, are used by one group.

    Raises:
        MeritorderError: No machine serves some requests, or none within their SLO.
    """
    by_model: list[list[list[Arrangements]]] = []
    for model, load in loads.items():
        search = partial(_search, catalog, model, load, options=options, progress=progress)
        present = [access for index, access in enumerate(load.accesses) if (load.access == index).any()]
        if len(present) == 1 or options.replicas is not None:
            by_model.append([[search(tuple(present))]])
            continue
        sharing: dict[tuple[Access, ...], Arrangements] = {(access,): search((access,)) for access in present}
        for some in _shared(present):
            with suppress(MeritorderError):  # no machine that all of them may use serves them within their SLO
                sharing[some] = search(some)
        parted = (parts for parts in _partitions(tuple(present)) if all(some in sharing for some in parts))
        by_model.append([[sharing[some] for some in parts] for parts in parted])
    found = KnownArrangements(partitions=by_model)
    if holdings and (holdings.reserved or holdings.savings_plans):
        return KnownArrangements(partitions=[[_with_held(found.groups, holdings, options, progress)]])
    return found


def _search(
    catalog: Catalog,
    model: Model,
    load: TraceLoad,
    accesses: tuple[Access, ...],
    *,
    options: CompareOptions,
    progress: Progress,
) -> Arrangements:
    """Search for the arrangements of the requests of some accesses, on machines that all of these may use."""
    members = np.array([access in accesses for access in load.accesses])[load.access]
    requests = load if members.all() else load.select(members)
    names = " + ".join(workload.name for workload in load.workloads if workload.access in accesses)
    permitted = _permitted(catalog, accesses)
    try:
        search = build_search(permitted, model, requests, options, progress)
    except CatalogError as error:
        if members.all():
            raise
        raise InfeasibleError(
            f"no on-demand machine may serve {names} for {model.id}, so there is no baseline for it",
            where="--workloads",
            fix="loosen allow and deny, or name more hardware and providers",
        ) from error
    name = model.id if members.all() else names
    return Arrangements(
        name=name, served_by=model, permitted=permitted, load=requests, found=search.run(), search=search
    )


def _shared(accesses: Sequence[Access]) -> list[tuple[Access, ...]]:
    """Return the sets of two and more accesses that may share machines; all of them only if they are many."""
    if len(accesses) > _MAX_ACCESSES_PARTED:
        return [tuple(accesses)]
    return [some for size in range(2, len(accesses) + 1) for some in combinations(accesses, size)]


def _partitions(accesses: tuple[Access, ...]) -> Iterator[list[tuple[Access, ...]]]:
    """Yield each way to part accesses into sets that share machines; apart and together only if they are many."""
    if len(accesses) > _MAX_ACCESSES_PARTED:
        yield [(access,) for access in accesses]
        yield [accesses]
    else:
        yield from partitions(accesses)


def kept_usd(trial: Trial) -> float:
    """Return the cost of a fleet; infinity if it breaks a promise."""
    return trial.usd if trial.feasible else math.inf


def _with_held(
    groups: Iterable[Arrangements], holdings: Holdings, options: CompareOptions, progress: Progress
) -> list[Arrangements]:
    """Return the arrangements with machines that are held, the first group first."""
    with_held: list[Arrangements] = []
    left = holdings
    for group in groups:
        found = use_held(
            group.found,
            left,
            catalog=group.permitted,
            model=group.served_by,
            load=group.load,
            options=options,
            progress=progress,
        )
        left = left_after(left, [found.baseline, found.mix])
        with_held.append(replace(group, found=found))
    return with_held


def _permitted(catalog: Catalog, accesses: Iterable[Access]) -> Catalog:
    """Return the catalog with the offers that every one of the accesses permits."""
    rules = tuple(accesses)
    offers = (
        offer
        for offer in catalog.offers
        if all(access.permits(offer.provider, offer.region, offer.hardware) for access in rules)
    )
    return replace(catalog, offers=tuple(offers))
