"""What a trace costs in real time, in batch, and as a mix: run the search, and assemble the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meritorder import catalog as facts
from meritorder import traces
from meritorder.catalog.tokens import find_model_or_prices
from meritorder.domain import Lane, Model, Tier
from meritorder.offers import Offer, TokenPrice
from meritorder.records.comparison import TITLES, Comparison
from meritorder.records.evidence import Assumption, Interval, PriceUsed, UnservableRequests, age_warnings
from meritorder.study.compare import why
from meritorder.study.compare.arrangements import (
    cheapest_price,
    fleet_arrangement,
    price_tokens,
    token_arrangement,
    utilization,
)
from meritorder.study.compare.certainty import saving_interval
from meritorder.study.compare.sentence import sentence
from meritorder.study.compare.token_only import TIERS_COMPARED, compare_tokens
from meritorder.study.compare.trace_summary import reading_warnings, summarize
from meritorder.study.fleet.fleets import Trial, machines_used
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.fleet.result import SearchResult
from meritorder.study.fleet.search import Search, build_search
from meritorder.study.fleet.servable import candidate_servers, describe, refuse_all, split_servable
from meritorder.study.fleet.serverless import search_serverless, serverless_assumptions, serverless_machines
from meritorder.study.fleet.speeds import performance, speed_assumptions
from meritorder.study.fleet.spot import spot_assumptions
from meritorder.study.fleet.workloads import access_assumptions, assign_workloads, only_model, permitted_to_all
from meritorder.study.prices.age import priced_today
from meritorder.units import format_count, format_duration, format_share, format_usd

__all__ = ["CompareOptions", "compare"]

# The usual ratio of the cost of a request in real time to its cost in batch.
_USUAL_RATIO: Final = (2.0, 5.0)
_MAX_FRONTIER_POINTS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedTrace:
    """A trace and the cheapest fleet of every arrangement.

    Args:
        trace: The requests as read.
        model: The model that is served.
        load: The requests with their SLOs and deadlines.
        search: The search.
        result: What it found.
        prices: Token prices of the model.
        assumptions: What was assumed.
        left_out: Requests that no replica can serve in time.
        serverless: The cheapest fleet of serverless workers, if they were asked for.
        defer: Shares of the requests that were to wait.
    """

    trace: traces.Trace
    model: Model
    load: TraceLoad
    search: Search
    result: SearchResult
    prices: Sequence[TokenPrice]
    assumptions: list[Assumption]
    left_out: UnservableRequests | None = None
    serverless: Trial | None = None
    defer: tuple[str, ...] = ()


def compare(trace: traces.Trace, options: CompareOptions, progress: Progress = lambda _: None) -> Comparison:
    """Return what a trace costs in real time, in batch, and as a mix; why they differ; and the interval of the saving.

    Args:
        trace: The requests.
        options: Model, hardware, SLO, deadlines and assumptions.
        progress: Receives each step, a few dozen in all.

    Raises:
        MeritorderError: There is no answer; the message says what to change.
    """
    name = options.model or only_model(trace)
    model, prices = find_model_or_prices(facts.load(options.catalogs), name)
    if model is None:
        return compare_tokens(trace, name, prices, options)
    searched = search_arrangements(trace, model, prices, options, progress)
    progress("computing the interval of the saving")
    return assemble(searched, saving_interval(searched.result, searched.search, options.seed))


def search_arrangements(
    trace: traces.Trace, model: Model, prices: Sequence[TokenPrice], options: CompareOptions, progress: Progress
) -> SearchedTrace:
    """Find the cheapest fleet of every arrangement.

    Args:
        trace: The requests.
        model: The model that serves them.
        prices: Token prices of the model.
        options: Hardware, SLO, deadlines and assumptions.
        progress: Receives each step.

    Raises:
        MeritorderError: No machine serves the model within its SLO.
    """
    assigned = assign_workloads(trace, options)
    load = assigned.load(options)
    catalog, permitted = permitted_to_all(facts.load(options.catalogs), prices, assigned)
    load, left_out = split_servable(load, candidate_servers(catalog, model, options), beyond_memory=False)
    if left_out and not len(load):
        raise refuse_all(left_out)
    search = build_search(catalog, model, load, options, progress)
    result = search.run()
    serverless = None
    if options.serverless:
        workers = serverless_machines(catalog, search.machines, options)
        serverless = search_serverless(load.all_realtime(), workers, options, progress)
    return SearchedTrace(
        trace=trace,
        model=model,
        load=load,
        search=search,
        result=result,
        prices=permitted,
        left_out=left_out,
        assumptions=[
            *assigned.assumptions,
            *access_assumptions(assigned.workloads),
            *options.precision_assumptions(),
            *_assumptions(options, load),
            *spot_assumptions(machines_used(result.batch, result.mix), options),
            *speed_assumptions(machines_used(result.baseline, result.batch, result.mix)),
            *serverless_assumptions(serverless, options),
        ],
        serverless=serverless,
        defer=options.defer,
    )


def _assumptions(options: CompareOptions, load: TraceLoad) -> list[Assumption]:
    batch = f"in batch, a request without a deadline can wait {format_duration(options.patience_s)}"
    assumptions = [options.startup_assumption(), Assumption(text=batch, option="--batch-deadline")]
    default_used = any(workload.lane is Lane.REALTIME and workload.assumed for workload in load.workloads)
    if options.slo is None and default_used:
        assumptions.insert(0, options.slo_assumption())
    if any(workload.lane is Lane.DEFERRABLE for workload in load.workloads):
        slo = options.default_slo
        limits = f"a TTFT of {slo.ttft_s:g} s and a TPOT of {slo.tpot_s:g} s"
        text = f"in real time, deferrable requests are priced with an SLO too: {limits}"
        assumptions.append(Assumption(text=text, option="--slo"))
    return assumptions


def assemble(searched: SearchedTrace, interval: Interval | None) -> Comparison:
    """Return the whole answer.

    Args:
        searched: The cheapest fleet of each arrangement.
        interval: Interval of the saving.
    """
    trace, result, load = searched.trace, searched.result, searched.load
    cheapest = [(tier, cheapest_price(searched.prices, tier, load)) for tier in TIERS_COMPARED]
    apis = [(tier, price) for tier, price in cheapest if price is not None]
    serverless = () if searched.serverless is None else (searched.serverless,)
    trials = (result.fixed, result.autoscaled, *serverless, result.batch, result.mix)
    fleets = [fleet_arrangement(trial, result) for trial in trials]
    arrangements = [*fleets, *(token_arrangement(tier, price, load) for tier, price in apis)]
    baseline, mix = result.baseline, result.mix
    ratio = baseline.usd / result.batch.usd
    saving_usd = baseline.usd - mix.usd
    waterfalls = [why.to_batch(baseline, result.batch, result.slo_utilization)]
    if result.realtime_alone is not None and mix.usd < baseline.usd:
        waterfalls.append(why.to_mix(baseline, mix, result.slo_utilization, result.realtime_alone))
    break_even, break_even_note = break_even_utilization(baseline.machine, apis, load)
    prices = priced_today(
        [
            *_offers_used((result.baseline, result.fixed, *serverless, result.batch, result.mix)),
            *(PriceUsed.from_token_price(price, used_for=f"Token API, {tier}") for tier, price in apis),
        ]
    )
    return Comparison(
        trace=summarize(trace),
        model=searched.model.id,
        hardware=baseline.machine.profile.hardware,
        assumptions=[*searched.assumptions, *(Assumption(text=text) for text in trace.report.assumptions)],
        arrangements=arrangements,
        baseline=baseline.name,
        best=_best(baseline, *serverless, mix).name,
        saving_usd=saving_usd,
        saving_share=saving_usd / baseline.usd,
        saving_interval=interval,
        ratio_realtime_to_batch=ratio,
        ratio_note=_ratio_note(ratio, baseline, result.batch),
        break_even_utilization=break_even,
        break_even_note=break_even_note,
        sentence=sentence(
            result,
            load,
            apis,
            unpriced=" ".join(filter(None, (trace.report.unpriced, describe(searched.left_out)))),
            defer=searched.defer,
        ),
        unservable=searched.left_out,
        credited=result.credited,
        waterfall=waterfalls,
        frontier=result.tried[:_MAX_FRONTIER_POINTS],
        prices=prices,
        performance=performance(machines_used(baseline, *serverless, result.batch, mix)),
        warnings=[*_warnings(trace, result, load), *_serverless_notes(searched), *age_warnings(prices)],
    )


def break_even_utilization(
    machine: CandidateMachine, apis: Sequence[tuple[Tier, TokenPrice]], load: TraceLoad
) -> tuple[float | None, str]:
    """Return the utilization at which a real-time fleet costs as much as the standard token API, and a note."""
    standard = next((price for tier, price in apis if tier is Tier.STANDARD), None)
    if standard is None:
        return None, "no provider sells this model as tokens, so there is no price to break even with"
    share = machine.price_work(load) / price_tokens(standard, load)
    replica = f"a replica at {format_usd(machine.usd_per_replica_hour)} an hour"
    rate = f"the standard rate of {standard.provider}"
    if share > 1:
        times = "more than" if f"{share:.1f}" == "1.0" else f"{share:.1f} times"
        return None, f"even at full utilization, {replica} costs {times} {rate}"
    return share, f"below {format_share(share)} utilization, {replica} costs more than {rate}"


def _best(baseline: Trial, *others: Trial) -> Trial:
    """Return the cheapest of the baseline and the fleets that keep their promise and cost less."""
    cheaper = [trial for trial in others if trial.usd < baseline.usd and (trial.feasible or trial.name == "mix")]
    return min(cheaper, key=lambda trial: trial.usd, default=baseline)


def _serverless_notes(searched: SearchedTrace) -> list[str]:
    """Return what serverless workers would save, if they keep the SLO and cost less than the cheapest machines."""
    trial, baseline = searched.serverless, searched.result.baseline
    if trial is None or not trial.feasible or trial.usd >= baseline.usd:
        return []
    share, usd = format_share(1 - trial.usd / baseline.usd), format_usd(trial.usd)
    text = f"serverless workers serve all in real time for {usd}, {share} less than machines of your own"
    return [f"{text}; the saving is counted against those machines"]


def _ratio_note(ratio: float, baseline: Trial, batch: Trial) -> str:
    low, high = _USUAL_RATIO
    if low <= ratio <= high:
        return ""
    compared = "Less" if ratio < low else "More"
    return (
        f"{compared} than the usual 2 to 5: utilization is {format_share(utilization(baseline))} in real time "
        f"and {format_share(utilization(batch))} in batch."
    )


def _offers_used(trials: Sequence[Trial]) -> list[PriceUsed]:
    offers: dict[str, Offer] = {}
    uses: dict[str, list[str]] = {}
    for trial in trials:
        for machine, _ in trial.pools:
            offer, title = machine.offer, TITLES[trial.name]
            offers[offer.label] = offer
            titles = uses.setdefault(offer.label, [])
            if title not in titles:
                titles.append(title)
    return [PriceUsed.from_offer(offer, used_for="; ".join(uses[label])) for label, offer in offers.items()]


def _warnings(trace: traces.Trace, result: SearchResult, load: TraceLoad) -> list[str]:
    warnings = reading_warnings(trace.report)
    if not load.deferrable.any():
        warnings.append("no request can wait, so the mix is the real-time fleet")
    if not result.autoscaled.feasible:
        warnings.append("no autoscaler tried meets the SLO: load rises faster than machines start")
    if result.batch.deadlines_missed:
        late = format_count(result.batch.deadlines_missed, "request")
        warnings.append(f"in batch {late} would be finished after the deadline")
    return warnings
