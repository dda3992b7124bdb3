"""The answer of `plan`: the trace's promises, the problem, the plan that held, the baseline, and why."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import numpy as np
from msgspec import structs

from meritorder import catalog as facts
from meritorder import planfile
from meritorder.catalog.tokens import cost_usd, token_prices
from meritorder.domain import Offer
from meritorder.evidence import Assumption, Interval, PriceUsed
from meritorder.perf.accuracy import accuracy
from meritorder.planner.commitments import backtest_commitments, recommend_commitments
from meritorder.planner.export import dispatch, merit_order, to_file
from meritorder.planner.model.demand import Demand
from meritorder.planner.sensitivity import analyze_sensitivity
from meritorder.planner.solve.bounds import relaxed_usd
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.options import Progress
from meritorder.study.fleet.workloads import assign_workloads, only_model, permitted_to_any, trace_models
from meritorder.study.plan.baseline import baselines_of
from meritorder.study.plan.carbon import carbon_for, read_carbon
from meritorder.study.plan.commit import Committed, commit
from meritorder.study.plan.explain import regret_of, small_enough, waterfall
from meritorder.study.plan.have import prices_and_have
from meritorder.study.plan.made import Made
from meritorder.study.plan.make import make
from meritorder.study.plan.options import PlanOptions
from meritorder.study.plan.problem import Asked, Trust, ask, trusting
from meritorder.study.plan.seats import Filling
from meritorder.traces import Trace
from meritorder.units import format_duration, format_share, format_usd

# Nine in ten draws of how far the profiles are off lie between these.
_LEVELS: Final = (0.05, 0.95)


def plan(trace: Trace, options: PlanOptions, progress: Progress = lambda _: None) -> planfile.Plan:
    """Find the cheapest plan for a trace, carry it out in the simulator, and say what it saves and why.

    Args:
        trace: The requests.
        options: Models, machines, promises, limits.
        progress: Told what is being done.

    Raises:
        MeritorderError: There is no plan; says what stops it and what would help.
    """
    catalog = facts.load(options.catalogs)
    intensities = read_carbon(options.carbon) if options.carbon is not None else None
    promised = assign_workloads(trace, options)
    names = [options.model] if options.model else trace_models(trace) or [only_model(trace)]
    loads = {catalog.find_model(name): promised.load(options, None if options.model else name) for name in names}
    catalog, have = prices_and_have(catalog, options)
    catalog = permitted_to_any(catalog, [price for model in loads for price in token_prices(model)], promised)
    asked = ask(catalog, loads, options, progress, have)
    if intensities is not None:
        price = options.carbon_usd_per_tonne
        carbon = carbon_for(intensities, price, asked.problem, trace.epoch_s, str(options.carbon))
        asked = replace(asked, problem=replace(asked.problem, carbon=carbon))
    with ThreadPoolExecutor(max_workers=1) as beside:
        baselines = beside.submit(baselines_of, asked, options, progress)
        committed = commit(asked.problem, options, progress)
        taken = (*asked.assumptions, *committed.assumptions)
        chosen = replace(asked, problem=committed.problem, committed=committed, assumptions=taken)
        made = make(chosen, promised, options, progress)
        progress("finding out what each freedom is worth")
        explained = _explained(made, chosen)
        if options.backtest is not None:
            progress("choosing commitments on the first part, paying on the rest")
            found = backtest_commitments(
                small_enough(trusting(asked, Trust(), Filling(asked.loads)).problem), options.backtest
            )
            explained = structs.replace(explained, backtest=found)
        progress("waiting for the baseline")
        trials = baselines.result()
    return _put_together(
        trace=trace,
        made=made,
        file=explained,
        trials=trials,
        asked=chosen,
        assumptions=[*promised.assumptions, *chosen.assumptions],
        options=options,
        notes=have.notes,
    )


def _explained(made: Made, asked: Asked) -> planfile.Plan:
    """Return the plan's file with shadow prices, advice, figures and regret in it."""
    solution, file = made.solution, made.file
    found = analyze_sensitivity(solution, small_enough(solution.problem))
    explained = to_file(solution, sensitivity=found, recommendations=recommend_commitments(solution))
    if asked.committed is not None and asked.committed.purchases:
        explained = _advised(asked.committed.in_file(explained), asked.committed)
    merits = merit_order(solution)
    return structs.replace(
        file,
        workloads=[_patient(one, asked) for one in explained.workloads],
        commitments=explained.commitments,
        spot_worth_usd_per_gpu=explained.spot_worth_usd_per_gpu,
        dispatch=dispatch(solution),
        merit_order=merits,
        regret=regret_of(asked.committed.solution if asked.committed and asked.committed.solution else solution),
    )


def _advised(file: planfile.Plan, committed: Committed) -> planfile.Plan:
    """Return the file with what was advised over seasons at each commitment."""
    advice = {each.name: each for each in committed.advice}
    return structs.replace(
        file,
        commitments=[
            structs.replace(
                one,
                break_even_use=advice[one.name].break_even_use,
                ladder=[(step.after_share, step.machines) for step in advice[one.name].ladder],
            )
            if one.name in advice
            else one
            for one in file.commitments
        ],
    )


def _patient(one: planfile.WorkloadPlan, asked: Asked) -> planfile.WorkloadPlan:
    """State the patience that was promised: what the slots leave of it differs."""
    return structs.replace(one, patience_s=asked.patience_s.get(one.name))


def _put_together(
    *,
    trace: Trace,
    made: Made,
    file: planfile.Plan,
    trials: Mapping[str, Trial],
    asked: Asked,
    assumptions: list[Assumption],
    options: PlanOptions,
    notes: tuple[str, ...],
) -> planfile.Plan:
    total_usd = made.simulated.total_usd
    baseline_usd = sum(trial.usd for trial in trials.values())
    simulated = structs.replace(made.simulated, trace=", ".join(trace.report.files))
    bought_usd = asked.committed.usd if asked.committed else 0.0
    tokens_usd = _tokens_usd(asked)
    return structs.replace(
        file,
        total_usd=total_usd,
        gap=made.gap,
        by_pricing_model=_by_pricing_model(file, simulated),
        prices=_prices_used(file, asked),
        assumptions=[*assumptions, *_own_assumptions(made, options, asked)],
        start_epoch_s=trace.epoch_s,
        baseline=_told(trials),
        baseline_usd=baseline_usd,
        saving_usd=baseline_usd - total_usd,
        saving_share=1 - total_usd / baseline_usd,
        saving_interval=_interval(made, baseline_usd, options.seed),
        simulated=simulated,
        sentence=_sentence(trace.requests.height, file, baseline_usd, simulated),
        performance=_performance(asked, file),
        waterfall=waterfall(replace(made.solution.problem, carbon=None), baseline_usd, total_usd, bought_usd),
        tokens_usd=tokens_usd,
        warnings=[*_warnings(trace, file, tokens_usd, total_usd, options), *notes],
    )


def _told(trials: Mapping[str, Trial]) -> str:
    """Say what the plan is compared with."""
    if len(trials) == 1:
        return next(iter(trials.values())).label
    return "; ".join(f"{name}: {trial.label}" for name, trial in trials.items())


def _tokens_usd(asked: Asked) -> dict[str, float]:
    """Return what all requests would cost as tokens, by tier, at the cheapest provider that sells every model there."""
    found: dict[str, float] = {}
    for tier in {price.tier for prices in asked.all_tokens.values() for price in prices}:
        total = 0.0
        for model, load in asked.loads.items():
            usd = [
                float(cost_usd(price, load.input_tokens, load.cached_tokens, load.output_tokens).sum())
                for price in asked.all_tokens[model]
                if price.tier is tier and all(one.access.permits(price.provider, "") for one in load.workloads)
            ]
            total += min(usd, default=np.inf)
        if np.isfinite(total):
            found[tier.value] = total
    return dict(sorted(found.items()))


def _by_pricing_model(file: planfile.Plan, simulated: planfile.PlanOutcome) -> dict[str, float]:
    """Return what each way to pay came to when the plan was carried out; adds up to the total."""
    usd: dict[str, float] = {}
    kinds = {f"{one.pool}, {one.payment}": one.pricing_model for one in file.schedule}
    for name, paid_usd in simulated.usd_by_pool.items():
        usd[kinds[name]] = usd.get(kinds[name], 0.0) + paid_usd
    for one in file.commitments:
        usd[one.pricing_model] = usd.get(one.pricing_model, 0.0) + one.usd
    if simulated.tokens_usd:
        usd["tokens"] = simulated.tokens_usd
    return {name: each for name, each in usd.items() if each}


def _prices_used(file: planfile.Plan, asked: Asked) -> list[PriceUsed]:
    offers: dict[str, Offer] = {}
    for site in asked.sites.values():
        for offer in site.offers:
            offers[f"{offer.label} {offer.term} {offer.payment}".strip()] = offer
            offers[offer.label] = offer
    names = {one.payment for one in file.schedule} | {one.name for one in file.commitments}
    used = {id(offer): offer for name, offer in offers.items() if any(each.startswith(name) for each in names)}
    venues = {route.venue for route in file.routes if route.kind == "tier"}
    return [
        *(PriceUsed.from_offer(offer, assumed=offer.assumed) for offer in used.values()),
        *(PriceUsed.from_token_price(asked.tokens[venue], assumed=False) for venue in sorted(venues)),
    ]


def _own_assumptions(made: Made, options: PlanOptions, asked: Asked) -> list[Assumption]:
    taken = []
    if options.slo is None and any(not one.slo for load in asked.loads.values() for one in load.workloads):
        taken.append(options.slo_assumption())
    taken.append(options.startup_assumption("; it is rented that long before its slot"))
    weighed = any(one.amount > 0 for one in made.solution.purchases)
    if weighed and not (asked.committed and asked.committed.solution):
        span = format_duration(made.file.slots * made.file.slot_s)
        text = f"commitments are weighed as if every {span} of their term were as this one"
        taken.append(Assumption(text=text, option="--commit"))
    return taken


def _interval(made: Made, baseline_usd: float, seed: int) -> Interval | None:
    """Return how the saving's share changes if every step is faster or slower by the profiles' measured error.

    Work, and the room that c(n) leaves it, scale with the steps; machines are planned anew in fractions, and the
    baseline keeps its shape: its machines are scaled and rounded up.
    """
    known = [accuracy(site.serving.machine.profile) for name, site in made.asked.sites.items() if name in _used(made)]
    errors = [each for each in known if each is not None]
    if not errors or len(errors) < len(known):
        return None
    worst = max(errors, key=lambda each: each.error)
    small = replace(small_enough(made.solution.problem), carbon=None)
    as_found = relaxed_usd(small)
    if not as_found:
        return None
    shares = []
    for factor in worst.factors(_LEVELS, seed).tolist():
        slowed = replace(small, workloads=tuple(_slowed(one, factor) for one in small.workloads))
        planned = relaxed_usd(slowed) / as_found * made.simulated.total_usd
        if np.isfinite(planned):
            shares.append(1 - planned / (baseline_usd * factor))
    shares.append(1 - made.simulated.total_usd / baseline_usd)
    basis = f"steps as much longer or shorter as nine in ten of {worst.basis}; machines planned anew in fractions"
    return Interval(low=min(shares), high=max(shares), basis=basis)


def _slowed(workload: Demand, factor: float) -> Demand:
    return replace(workload, work_s={kind: work * factor for kind, work in workload.work_s.items()})


def _used(made: Made) -> set[str]:
    return {one.pool for one in made.file.schedule}


def _sentence(requests: int, file: planfile.Plan, baseline_usd: float, simulated: planfile.PlanOutcome) -> str:
    total_usd, carbon_usd = simulated.total_usd, simulated.carbon_usd
    start = f"In real time these {requests:,} requests cost {format_usd(baseline_usd)}, "
    start += f"by this plan {format_usd(total_usd)}"
    saved = 1 - total_usd / baseline_usd
    gap = max((total_usd + carbon_usd) / file.bound_usd - 1, 0.0) if file.bound_usd else 0.0
    carbon = f"Its carbon is priced at {format_usd(carbon_usd)} on top. " if carbon_usd else ""
    counted = ", carbon counted" if carbon_usd else ""
    proof = f"{carbon}No plan of this programme costs less than {format_usd(file.bound_usd)}{counted}: "
    proof += f"this one is within {format_share(gap, 1)} of it."
    kept = "every promise kept when it was simulated request by request"
    return f"{start}, which saves {format_share(saved)}, {kept}. {proof}" if saved > 0 else f"{start}, {kept}. {proof}"


def _performance(asked: Asked, file: planfile.Plan) -> list[str]:
    lines = []
    for name in dict.fromkeys(one.pool for one in file.schedule):
        machine = asked.sites[name].serving.machine
        profile = machine.profile
        lines.append(
            f"{profile.replica.label}: {profile.provenance}: {profile.source}, {profile.as_of}; full it serves "
            f"{machine.saturation.tokens_per_s:,.0f} tokens/s with {machine.saturation.sequences:.0f} sequences"
        )
    return list(dict.fromkeys(lines))


def _warnings(
    trace: Trace, file: planfile.Plan, tokens_usd: Mapping[str, float], total_usd: float, options: PlanOptions
) -> list[str]:
    warnings = []
    report = trace.report
    if report.bad_rows:
        warnings.append(f"{report.bad_rows:,} of {report.rows:,} rows make no sense and were left out")
    if not any(one.lane == "deferrable" for one in file.workloads):
        warnings.append("nothing is marked as able to wait; say what may, with --defer 40%@4h or --workloads")
    if options.backtest is not None and not file.backtest:
        warnings.append("there is nothing to backtest: no commitment is on sale for these machines")
    cheapest = min(tokens_usd.items(), key=lambda each: each[1], default=None)
    if cheapest is not None and cheapest[1] < total_usd and not options.tiers:
        warnings.append(
            f"bought as tokens ({cheapest[0]} tier) all of it would cost {format_usd(cheapest[1])}, at a latency that "
            f"nobody promises; let the plan buy them with --tokens {cheapest[0]}"
        )
    return warnings
