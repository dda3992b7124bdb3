"""What traffic in a few numbers costs: a day of it is made, and compared as any other trace."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from meritorder import catalog as facts
from meritorder.catalog.tokens import find_model_or_prices
from meritorder.deadlines import Patience
from meritorder.domain import Tier
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
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.fleet.workloads import assign_workloads
from meritorder.traces import Trace
from meritorder.traces.generated.synthetic import Traffic, generate
from meritorder.traces.workloads import parse_defer
from meritorder.units import HOURS_PER_DAY, HOURS_PER_MONTH, SECONDS_PER_DAY, format_duration, format_usd

SIMULATED_REQUESTS: Final = 50_000
"""Requests that are simulated at most; of more, the day passes faster, and beyond that a part of the rate is left."""

_DAYS_PER_MONTH: Final = HOURS_PER_MONTH / HOURS_PER_DAY
# How fast a day may pass, and the time that requests which can wait must be left: longer than they take to serve.
_MAX_PACE: Final = 8.0
_LEAST_WAIT_S: Final = 300.0
# From here on, the number of separate fleets is stated without a decimal.
_MANY_FLEETS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """The comparison of the traffic: on machines and as tokens, or as tokens only, and then why."""

    comparison: Comparison
    prices: Sequence[TokenPrice]
    searched: SearchedTrace | None = None
    no_machine: str = ""

    @property
    def hardware(self) -> tuple[str, ...]:
        """The hardware that was searched; empty if no machine serves the model."""
        if self.searched is None:
            return ()
        return tuple(dict.fromkeys(machine.profile.hardware for machine in self.searched.search.machines))


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
        simulated_requests: Requests that are simulated at most.
        trace_file: Where the simulated requests were written, for the commands that go on from there.

    Raises:
        MeritorderError: The model is unknown, or is had neither on machines nor as tokens.
    """
    share, options = _simulated(traffic, options, simulated_requests)
    trace = generate(_part(traffic, share), seed=options.seed, pace=options.pace)
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
        volume, note = break_even_volume(
            searched,
            standard,
            lambda rate: _load_of(replace(traffic, requests_per_day=rate), options, simulated_requests),
        )
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
            simulated_days=days * options.pace,
            simulated_pace=options.pace,
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
        assumptions=[*scaled, *_paced(options), *compared.comparison.assumptions],
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
    """Return a day or more of the traffic at the rate that is simulated, which is all of it but at the largest."""
    share, _ = _simulated(traffic, options, simulated_requests)
    return generate(_part(traffic, share), seed=options.seed)


def _simulated(traffic: Traffic, options: CompareOptions, simulated_requests: float) -> tuple[float, CompareOptions]:
    """Return the share of the rate that is simulated, and the options with the pace of the simulated day."""
    deadlines = [parse_defer(text).deadline for text in options.defer]
    waits_s = [deadline.wait_s for deadline in deadlines if isinstance(deadline, Patience)]
    times = traffic.requests_per_day / simulated_requests
    pace = min(_MAX_PACE, times, *(wait_s / _LEAST_WAIT_S for wait_s in waits_s))
    if pace < 1 or options.spot or len(waits_s) < len(deadlines):
        pace = 1.0  # the clock of interruptions, and of deadlines by the time of the day, is the true one
    share = min(1.0, pace / times)
    return share, replace(options, pace=pace)


def _part(traffic: Traffic, share: float) -> Traffic:
    return replace(traffic, requests_per_day=traffic.requests_per_day * share)


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
    try:
        searched = search_arrangements(trace, model, prices, replace(options, coarse=True), progress)
    except NO_MACHINE_ERRORS as error:
        if not prices or limits_machines(options):
            raise
        as_tokens = compare_tokens(trace, model.id, prices, options, reason=NO_MACHINE)
        return _Compared(comparison=as_tokens, prices=prices, no_machine=str(error))
    return _Compared(comparison=assemble(searched, None), prices=searched.prices, searched=searched)


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


def _load_of(traffic: Traffic, options: CompareOptions, simulated_requests: float) -> TraceLoad:
    """Return a day of traffic, all in real time."""
    share, options = _simulated(traffic, replace(options, defer=()), simulated_requests)
    trace = generate(_part(traffic, share), seed=options.seed, pace=options.pace)
    return assign_workloads(trace, options).load(options)


def _paced(options: CompareOptions) -> list[Assumption]:
    """Return what it means that the day was simulated at a faster pace, if it was."""
    if options.pace == 1:
        return []
    text = (
        f"a day is simulated in {format_duration(SECONDS_PER_DAY / options.pace)}, at its full rate: requests are "
        f"served as in truth, while the load changes, machines start and deadlines come {options.pace:.1f} times as "
        "fast"
    )
    return [Assumption(text=text, option="--simulate")]


def _scaled_down(searched: SearchedTrace | None, load: TraceLoad, share: float, usd_factor: float) -> list[Assumption]:
    """Return what it means that only a part of the rate was simulated, if so."""
    if share == 1 or searched is None:
        return []
    least_usd = min(machine.price_work(load) for machine in searched.search.machines) * usd_factor
    times = f"{1 / share:,.0f}" if share <= 1 / _MANY_FLEETS else f"{1 / share:.1f}"
    text = (
        f"One request in {times} was simulated: but for those always on, which are sized on the busiest hour, machines "
        "are priced as that many separate fleets. One large fleet shares its peaks and costs less, at least "
        f"{format_usd(least_usd)} a month"
    )
    return [Assumption(text=text, option="--simulate")]
