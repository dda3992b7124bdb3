"""What traffic in a few numbers costs: a day of it is made, and compared as any other trace."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from meritorder import catalog as facts
from meritorder.catalog.tokens import find_model_or_prices
from meritorder.domain import Model, Tier
from meritorder.errors import CatalogError, InfeasibleError
from meritorder.offers import TokenPrice
from meritorder.records.comparison import Comparison
from meritorder.records.estimation import Estimate, TrafficSummary, Way
from meritorder.records.evidence import Assumption
from meritorder.study.compare.arrangements import cheapest_price
from meritorder.study.compare.compare import SearchedTrace, assemble, search_arrangements
from meritorder.study.compare.token_only import NO_MACHINE, compare_tokens
from meritorder.study.estimate.break_even import break_even_volume
from meritorder.study.estimate.busiest import always_on_way
from meritorder.study.estimate.commands import trace_commands
from meritorder.study.estimate.patience import price_patience
from meritorder.study.estimate.sentence import traffic_sentence
from meritorder.study.estimate.ways import (
    NO_MACHINE_ERRORS,
    committed_way,
    fleet_ways,
    limits_machines,
    speed_certainty,
    token_ways,
)
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import find_machines
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.fleet.workloads import assign_workloads
from meritorder.traces import Trace
from meritorder.traces.synthetic import Traffic, generate
from meritorder.units import HOURS_PER_DAY, HOURS_PER_MONTH, SECONDS_PER_DAY, format_usd

SIMULATED_REQUESTS: Final = 100_000
"""Requests of a day that are simulated at most; of a higher rate, a part is."""

_DAYS_PER_MONTH: Final = HOURS_PER_MONTH / HOURS_PER_DAY
# Up to this many simulated requests all hardware is searched; beyond, as many as are shortlisted.
_FEW_REQUESTS: Final = 60_000
_SHORTLISTED: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """The comparison of the traffic: on machines and as tokens, or as tokens only, and then why."""

    comparison: Comparison
    prices: Sequence[TokenPrice]
    searched: SearchedTrace | None = None
    no_machine: str = ""
    shortlist: tuple[str, ...] = ()

    @property
    def hardware(self) -> tuple[str, ...]:
        """The hardware that was searched; empty if no machine serves the model."""
        if self.searched is None:
            return ()
        return tuple(dict.fromkeys(machine.profile.hardware for machine in self.searched.search.machines))

    @property
    def assumptions(self) -> list[Assumption]:
        """What was left out of the search."""
        if not self.shortlist:
            return []
        text = f"only {' and '.join(self.shortlist)}, whose work is cheapest at full use, are searched at this volume"
        return [Assumption(text=text, option="--hardware")]


def estimate_traffic(
    traffic: Traffic,
    options: CompareOptions,
    progress: Progress = lambda _: None,
    *,
    simulated_requests: float = SIMULATED_REQUESTS,
    trace_file: str = "",
) -> Estimate:
    """Return what traffic costs in a month, in every way to serve it, and what waiting is worth.

    Args:
        traffic: The traffic in a few numbers.
        options: Model, machines, SLO, and the share that can wait.
        progress: Receives each step.
        simulated_requests: Requests of a day that are simulated at most.
        trace_file: Where the simulated requests were written, for the commands that go on from there.

    Raises:
        MeritorderError: The model is unknown, or is had neither on machines nor as tokens.
    """
    share = _simulated_share(traffic, simulated_requests)
    trace = simulated_trace(traffic, options, simulated_requests)
    compared = _compare(trace, traffic.input_tokens + traffic.output_tokens, options, progress)
    searched = compared.searched
    load = searched.load if searched else assign_workloads(trace, options).load(options)
    standard = cheapest_price(compared.prices, Tier.STANDARD, load)
    days = trace.span_s / SECONDS_PER_DAY
    usd_factor = _DAYS_PER_MONTH / days / share
    ways = [
        *_machine_ways(compared, traffic, options, usd_factor, share),
        *token_ways(compared.prices, load, usd_factor=usd_factor, by_s=None),
    ]
    progress("finding the break-even volume")
    volume, note = None, compared.comparison.break_even_note
    if searched:
        volume, note = break_even_volume(searched, standard, lambda rate: _load_of(rate, traffic, options))
    progress("pricing patience")
    at_once_usd = min((way.usd for way in ways if way.name.startswith("realtime") and way.in_time), default=math.inf)
    patience = price_patience(searched, load, compared.prices, standard, usd_factor=usd_factor, at_once_usd=at_once_usd)
    scaled = _scaled_down(searched, load, share, usd_factor)
    return Estimate(
        model=compared.comparison.model,
        period="month",
        traffic=TrafficSummary(
            requests=traffic.requests_per_day * _DAYS_PER_MONTH,
            requests_per_day=traffic.requests_per_day,
            input_tokens=traffic.input_tokens,
            output_tokens=traffic.output_tokens,
            peak_to_mean_hour=traffic.peak_to_mean,
            simulated_days=days,
            simulated_share=share,
        ),
        sentence=" ".join(
            filter(None, (traffic_sentence(traffic, ways, patience, compared.no_machine), *(s.text for s in scaled)))
        ),
        ways=ways,
        best=min((way for way in ways if way.in_time is not False), key=lambda way: way.usd).name,
        patience=patience,
        break_even_requests_per_day=volume,
        break_even_note=note,
        assumptions=[*scaled, *compared.assumptions, *compared.comparison.assumptions],
        prices=compared.comparison.prices,
        warnings=compared.comparison.warnings,
        commands=_commands(compared, options, trace_file),
        comparison=compared.comparison,
    )


def _commands(compared: _Compared, options: CompareOptions, trace_file: str) -> list[str]:
    if compared.no_machine:
        return []  # `compare` and `plan` need a machine that serves the model
    searched = replace(options, hardware=compared.hardware)
    return trace_commands(trace_file or "day.csv", compared.comparison.model, searched)


def simulated_trace(traffic: Traffic, options: CompareOptions, simulated_requests: float) -> Trace:
    """Return the requests that are simulated: those of a day or more, or a part of the rate."""
    share = _simulated_share(traffic, simulated_requests)
    return generate(replace(traffic, requests_per_day=traffic.requests_per_day * share), seed=options.seed)


def _simulated_share(traffic: Traffic, simulated_requests: float) -> float:
    return min(1.0, simulated_requests / traffic.requests_per_day)


def _compare(trace: Trace, traffic_tokens: float, options: CompareOptions, progress: Progress) -> _Compared:
    """Compare a trace on machines, or as tokens only if no machine serves the model."""
    catalog = facts.load(options.catalogs)
    if not options.model:
        raise CatalogError("no model was given", where="--model", fix="name it, such as llama-3.1-70b or gpt-4.1-mini")
    for name in options.hardware:
        catalog.find_hardware(name)
    model, prices = find_model_or_prices(catalog, options.model)
    if model is None:
        return _Compared(comparison=compare_tokens(trace, options.model, prices, options), prices=prices)
    if traffic_tokens > model.context_tokens:
        raise InfeasibleError(
            f"{model.id} takes {model.context_tokens:,} tokens at most, prompt and answer together; "
            f"{traffic_tokens:,.0f} are asked on average",
            where="--input",
        )
    shortlist: tuple[str, ...] = ()
    try:
        shortlist = _shortlist(trace, catalog, model, options)
        chosen = replace(options, hardware=shortlist or options.hardware, coarse=True)
        searched = search_arrangements(trace, model, prices, chosen, progress)
    except NO_MACHINE_ERRORS as error:
        if not prices or limits_machines(options):
            raise
        as_tokens = compare_tokens(trace, model.id, prices, options, reason=NO_MACHINE)
        return _Compared(comparison=as_tokens, prices=prices, no_machine=str(error))
    return _Compared(
        comparison=assemble(searched, None), prices=searched.prices, searched=searched, shortlist=shortlist
    )


def _shortlist(trace: Trace, catalog: facts.Catalog, model: Model, options: CompareOptions) -> tuple[str, ...]:
    """Return the hardware with the cheapest work, to search only that where many requests are simulated."""
    if trace.requests.height <= _FEW_REQUESTS or len(options.hardware) <= _SHORTLISTED:
        return ()
    load = assign_workloads(trace, replace(options, defer=())).load(options)
    machines = find_machines(catalog, model, load, replace(options, coarse=True), lambda _: None)
    return tuple(dict.fromkeys(machine.profile.hardware for machine in machines))[:_SHORTLISTED]


def _machine_ways(
    compared: _Compared, traffic: Traffic, options: CompareOptions, usd_factor: float, share: float
) -> list[Way]:
    searched = compared.searched
    if searched is None:
        return []
    certainty = speed_certainty(searched.result.baseline.machine)
    ways = [
        *fleet_ways(compared.comparison, searched.load, usd_factor, certainty),
        *committed_way(searched.result.always_on, options, usd_factor, certainty),
    ]
    whole = always_on_way(searched, traffic, certainty) if share < 1 else None
    if whole is None:
        return ways
    # What costs more than that is an artifact of separate fleets.
    return [whole, *(way for way in ways if way.name != whole.name and way.usd < whole.usd)]


def _load_of(requests_per_day: float, traffic: Traffic, options: CompareOptions) -> TraceLoad:
    """Return a day of the same traffic at another volume, all in real time."""
    trace = generate(replace(traffic, requests_per_day=requests_per_day), seed=options.seed)
    return assign_workloads(trace, replace(options, defer=())).load(options)


def _scaled_down(searched: SearchedTrace | None, load: TraceLoad, share: float, usd_factor: float) -> list[Assumption]:
    """Return what it means that only a part of the rate was simulated, if so."""
    if share == 1 or searched is None:
        return []
    least_usd = min(machine.price_work(load) for machine in searched.search.machines) * usd_factor
    text = (
        f"One request in {1 / share:,.0f} was simulated: but for those always on, which are sized on the busiest "
        "hour, machines are priced as that many separate fleets. One large fleet shares its peaks and costs less, "
        f"at least {format_usd(least_usd)} a month"
    )
    return [Assumption(text=text, option="--simulate")]
