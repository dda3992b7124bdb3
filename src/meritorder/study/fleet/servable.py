"""Requests that no replica can serve in time even alone: found before anything is simulated, named, and left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog import Catalog
from meritorder.domain import Model, PricingModel
from meritorder.errors import InfeasibleError
from meritorder.offers import Offer
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.records.evidence import UnservableRequest, UnservableRequests
from meritorder.sim.saturation import unloaded_latency
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import candidate_profiles
from meritorder.study.fleet.options import CompareOptions
from meritorder.units import format_count, format_duration

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_MAX_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A replica that requests may be served by.

    Args:
        profile: How fast it is, and how many tokens its memory holds.
        limits: The engine's limits.
        offers: The machines that it may run on.
    """

    profile: Profile
    limits: EngineLimits
    offers: Sequence[Offer]


def candidate_servers(catalog: Catalog, model: Model, options: CompareOptions) -> list[Server]:
    """Return every replica that the options allow, with the machines on demand that it may run on."""
    servers: list[Server] = []
    for profile in candidate_profiles(catalog, model, options, []):
        offers = catalog.select_offers(
            profile.hardware, options.providers, options.regions, PricingModel.ON_DEMAND, profile.gpus
        )
        if offers:
            servers.append(Server(profile=profile, limits=options.engine_limits(profile), offers=offers))
    return servers


def split_servable(
    load: TraceLoad,
    servers: Sequence[Server],
    rows: NDArray[np.int64] | None = None,
    *,
    beyond_memory: bool = True,
) -> tuple[TraceLoad, UnservableRequests | None]:
    """Return the requests that some replica can serve in time if it serves nothing else, and what is left out.

    A request is left out if no memory of the replicas that it may use holds it or, where it can wait, if each of them
    takes longer for it than it can wait. A request in real time that is slow is served, and breaks its SLO.

    Args:
        load: The requests.
        servers: The replicas; without any, all requests are kept.
        rows: Place of each request in its trace, from 0; that in the load if None.
        beyond_memory: Whether requests that fit into no replica's memory are left out, instead of kept.
    """
    has_s = load.deadline_s - load.arrived_s
    tokens = load.input_tokens.astype(np.int64) + load.output_tokens
    pending, needs_s = np.arange(len(load)), np.full(len(load), np.inf)
    fastest, largest = np.full(len(load), -1), np.full(len(load), -1)
    memory = np.zeros(len(load))
    for place, server in enumerate(servers):
        requests = load.select(pending)
        permitted = _may_run(requests, server.offers)
        larger = permitted & (server.profile.longest_tokens > memory[pending])
        largest[pending[larger]], memory[pending[larger]] = place, server.profile.longest_tokens
        fits = permitted & (tokens[pending] <= server.profile.longest_tokens)
        alone_s = np.where(fits, _alone_s(requests, server), np.inf)
        faster = alone_s < needs_s[pending]
        fastest[pending[faster]] = place
        needs_s[pending] = np.minimum(needs_s[pending], alone_s)
        pending = pending[~fits | (alone_s > has_s[pending])]
        if not len(pending):
            return load, None
    pending = pending[(largest[pending] >= 0) & (beyond_memory | np.isfinite(needs_s[pending]))]
    if not len(pending):
        return load, None
    first = pending[:_MAX_NAMED]
    named = [
        UnservableRequest(
            row=int(index if rows is None else rows[index]) + 1,
            input_tokens=int(load.input_tokens[index]),
            output_tokens=int(load.output_tokens[index]),
            replica=servers[(largest if fastest[index] < 0 else fastest)[index]].profile.replica.label,
            needs_s=None if fastest[index] < 0 else float(needs_s[index]),
            has_s=float(has_s[index]) if np.isfinite(has_s[index]) else None,
            memory_tokens=int(memory[index]) if fastest[index] < 0 else None,
        )
        for index in first.tolist()
    ]
    kept = np.ones(len(load), np.bool_)
    kept[pending] = False
    return load.select(kept), UnservableRequests(requests=len(pending), of=len(load), first=named)


def _may_run(load: TraceLoad, offers: Sequence[Offer]) -> Bools:
    """Return which requests may run on one of the machines, shape (requests,)."""
    if len(load.accesses) == 1:
        return np.ones(len(load), np.bool_)
    places = {(offer.provider, offer.region, offer.hardware) for offer in offers}
    permitted = [load.may_run(*place) for place in places]
    return np.any(permitted, axis=0) if permitted else np.zeros(len(load), np.bool_)


def _alone_s(load: TraceLoad, server: Server) -> Floats:
    """Return the time from arrival to the last token of each request on an idle replica, shape (requests,)."""
    none = np.zeros(len(load))
    ttft_s, tpot_s = unloaded_latency(load.requests(none, none), server.profile, server.limits)
    return ttft_s + tpot_s * (load.output_tokens - 1)


def joined(parts: Sequence[UnservableRequests]) -> UnservableRequests:
    """Return what was left out of several loads as one."""
    named = sorted((request for part in parts for request in part.first), key=lambda request: request.row)
    return UnservableRequests(
        requests=sum(part.requests for part in parts), of=sum(part.of for part in parts), first=named[:_MAX_NAMED]
    )


def describe(left_out: UnservableRequests | None) -> str:
    """Return in a sentence what is left out, and why; "" if nothing is."""
    if left_out is None:
        return ""
    first = left_out.first[0]
    lengths = f"{first.input_tokens:,} input and {first.output_tokens:,} output tokens"
    if first.memory_tokens is not None:
        reason = f"memory holds {first.memory_tokens:,} tokens at most (on {first.replica})"
    else:
        reason = f"needs {format_duration(first.needs_s or 0.0)} on {first.replica}"
        reason += f" and has {format_duration(first.has_s or 0.0)}"
    verb, them = ("is", "it") if left_out.requests == 1 else ("are", "them")
    which = "request" if left_out.requests == 1 else "the first, request"
    return (
        f"{left_out.requests:,} of {format_count(left_out.of, 'request')} {verb} left out, since no replica can serve "
        f"{them} in time even alone: {which} {first.row:,} ({lengths}), {reason}."
    )


def refuse_all(left_out: UnservableRequests) -> InfeasibleError:
    """Return the error for a trace of which no request can be served in time."""
    return InfeasibleError(
        describe(left_out).rstrip("."), where="the trace", fix="give them more time, or faster or larger hardware"
    )
