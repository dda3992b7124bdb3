"""A trace with its workloads: the lane, SLO or deadline of each request, and where each workload may run."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder.catalog import Catalog
from meritorder.domain import PLACES, Access, Workload
from meritorder.errors import CatalogError, WorkloadsError
from meritorder.offers import Offer, TokenPrice
from meritorder.records.evidence import Assumption
from meritorder.study.fleet.load import TraceLoad, load_from_requests
from meritorder.study.fleet.options import CompareOptions
from meritorder.traces import Trace
from meritorder.traces.holes import cut_before, describe_holes, find_holes
from meritorder.traces.trace import covered_s
from meritorder.traces.workloads import assign, load_workloads, parse_defer
from meritorder.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedTrace:
    """Requests with their workloads.

    Args:
        requests: REQUESTS with workloads and deadlines filled in.
        workloads: The workloads that have requests.
        declared: The workloads of the workloads file.
        span_s: Time that the trace covers.
        assumptions: What was assumed.
    """

    requests: pl.DataFrame
    workloads: tuple[Workload, ...]
    declared: tuple[Workload, ...]
    span_s: float
    assumptions: tuple[Assumption, ...]

    def rows(self, models: Collection[str] = ()) -> NDArray[np.int64]:
        """Return the places of the requests that the trace sent to some models, of all if none is named."""
        if not models:
            return np.arange(self.requests.height)
        return np.flatnonzero(self.requests["model"].cast(pl.String).is_in(list(models)).fill_null(value=False))

    def load(self, options: CompareOptions, models: Collection[str] = ()) -> TraceLoad:
        """Return the requests as arrays.

        The clock of a model among several begins with its first request, and ends as if the model were alone: one mean
        gap after its last.

        Args:
            options: For the default SLO, and for the span of requests that arrive at once.
            models: Select the requests that the trace sent to these models; all if none is named.

        Raises:
            WorkloadsError: A deadline lies before the arrival.
        """
        requests, begin_s, span_s = self.requests, 0.0, self.span_s
        if models:
            requests = requests[self.rows(models)]
        if requests.height < self.requests.height:
            begin_s = float(requests["arrived_s"][0])
            span_s = covered_s(requests["arrived_s"]) or options.spread_s
        load = load_from_requests(requests, self.workloads, options.default_slo, span_s, begin_s)
        late = load.deferrable & (load.deadline_s <= load.arrived_s)
        if late.any():
            raise WorkloadsError(
                f"{int(late.sum()):,} requests have a deadline before they arrive", fix="correct the deadlines"
            )
        return load.paced(options.pace)


def assign_workloads(
    trace: Trace, options: CompareOptions, declared: tuple[Workload, ...] | None = None
) -> AssignedTrace:
    """Assign each request of a trace to a workload.

    Args:
        trace: The requests.
        options: Workloads file, shares that can wait, default SLO.
        declared: Workloads to use instead of those of the file.
    """
    if declared is None:
        declared = load_workloads(options.workloads) if options.workloads else ()
    rules = [parse_defer(text) for text in options.defer]
    assumptions: list[Assumption] = []
    span_s = trace.span_s
    if span_s <= 0:
        count = trace.requests.height
        span_s = options.spread_s
        later_s = pl.Series(np.linspace(0.0, span_s, count, endpoint=False))
        # All arrive at once; each keeps the time for which it can wait.
        trace = replace(trace, requests=trace.requests.with_columns(pl.col("arrived_s", "deadline_s") + later_s))
        text = f"the trace has no arrival times: requests are spread evenly over {format_duration(span_s)}"
        assumptions.append(Assumption(text=text, option="--spread"))
    assigned = assign(trace, declared, options.default_slo, rules, options.seed)
    requests = assigned.requests
    holes = () if trace.report.session_clock else find_holes(requests["arrived_s"].to_numpy(), trace.epoch_s)
    if holes:
        # Each request keeps the time for which it can wait.
        cut_s = pl.Series(cut_before(requests["arrived_s"].to_numpy(), holes))
        requests = requests.with_columns(pl.col("arrived_s", "deadline_s") - cut_s)
        span_s = covered_s(requests["arrived_s"])
        assumptions.append(Assumption(text=describe_holes(holes).rstrip(".")))
    return AssignedTrace(
        requests=requests,
        workloads=assigned.workloads,
        declared=declared,
        span_s=span_s,
        assumptions=(*assumptions, *assigned.assumptions),
    )


def only_model(trace: Trace) -> str:
    """Return the one model that a trace names.

    Raises:
        CatalogError: It names none, or several.
    """
    names = trace.models
    if len(names) == 1:
        return names[0]
    has = f"the trace has {len(names)}: {', '.join(names[:6])}" if names else "the trace names none"
    raise CatalogError(
        f"no model was given and {has}", where="--model", fix="name the model to serve, such as llama-3.1-70b"
    )


def permitted_to_all(
    catalog: Catalog, tokens: Sequence[TokenPrice], assigned: AssignedTrace
) -> tuple[Catalog, tuple[TokenPrice, ...]]:
    """Return the offers and token prices that every workload may use, for workloads that share machines.

    Raises:
        WorkloadsError: A glob matches nothing, or no offer is left.
    """
    _check_globs(catalog, tokens, assigned.declared)
    accesses = {workload.access for workload in assigned.workloads}
    permitted = tuple(price for price in tokens if all(access.permits(price.provider, "") for access in accesses))
    return _filter_offers(catalog, lambda offer: all(_permits(access, offer) for access in accesses)), permitted


def permitted_to_any(catalog: Catalog, tokens: Sequence[TokenPrice], assigned: AssignedTrace) -> Catalog:
    """Return the catalog with the offers that at least one workload may use.

    Raises:
        WorkloadsError: A glob matches nothing, or no offer is left.
    """
    _check_globs(catalog, tokens, assigned.declared)
    accesses = {workload.access for workload in assigned.workloads}
    return _filter_offers(catalog, lambda offer: any(_permits(access, offer) for access in accesses))


def access_assumptions(workloads: Iterable[Workload]) -> list[Assumption]:
    """Return the assumption that workloads which share machines share the limits of each."""
    names = [workload.name for workload in workloads if workload.access != Access()]
    if not names:
        return []
    text = (
        f"all workloads run only where {' and '.join(names)} may: here they share machines; "
        "`meritorder plan` applies each limit to its own workload"
    )
    return [Assumption(text=text, option="--workloads")]


def _permits(access: Access, offer: Offer) -> bool:
    return access.permits(offer.provider, offer.region, offer.hardware)


def _filter_offers(catalog: Catalog, keep: Callable[[Offer], bool]) -> Catalog:
    filtered = replace(catalog, offers=tuple(offer for offer in catalog.offers if keep(offer)))
    if catalog.offers and not filtered.offers:
        raise WorkloadsError(
            "allow and deny of the workloads leave no machine that has a price",
            where="--workloads",
            fix="loosen allow and deny, or add offers with --catalog FILE; an offer without a region matches no region",
        )
    return filtered


def _check_globs(catalog: Catalog, tokens: Sequence[TokenPrice], workloads: Iterable[Workload]) -> None:
    """Refuse a glob that matches nothing: a misspelled limit would limit nothing, or everything."""
    offers = catalog.offers
    priced = {
        "provider": {offer.provider for offer in offers} | {price.provider for price in tokens},
        "region": {offer.region for offer in offers} - {""},
        "hardware": {offer.hardware for offer in offers},
    }
    for workload in workloads:
        for key, globs_by_place in (("allow", workload.access.allow), ("deny", workload.access.deny)):
            for place in PLACES:
                known = sorted({name.lower() for name in priced[place]})
                for glob in globs_by_place.get(place, []):
                    if not any(fnmatchcase(name, glob) for name in known):
                        raise WorkloadsError(
                            f"{key} {place}: {glob!r} matches nothing that has a price",
                            where=f"workload {workload.name}",
                            fix=f"known: {', '.join(known)}",
                        )
