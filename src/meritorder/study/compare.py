"""What a trace costs in real time, in batch, and as a mix."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from meritorder import catalog as facts
from meritorder import traces
from meritorder.catalog.tokens import token_prices
from meritorder.comparison import Assumption, Comparison, Interval
from meritorder.domain import Lane, Model, PricingModel, Slo
from meritorder.errors import CatalogError, InfeasibleError, PerformanceError, WorkloadsError
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.perf.shipped import find, load
from meritorder.sim.saturation import saturate
from meritorder.study import answer
from meritorder.study.fleets import Machine
from meritorder.study.load import Load, load_of
from meritorder.study.search import Found, Progress, Search
from meritorder.traces.workloads import assign, load_workloads, parse_defer
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE, format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to compare, and on what assumptions.

    Args:
        model: Name of the model that is served; "" takes the trace's own.
        hardware: Names of hardware; the cheapest is taken for each lane.
        providers: Providers to rent from; empty takes all.
        regions: Regions to rent in; empty takes all.
        engine: Inference engine.
        precision: Precision of the weights; None takes the model's own.
        tp: GPUs of a replica; None takes the cheapest that keeps the SLO.
        slo: The real-time promise where no workload states one.
        defer: Shares that may wait, as `40%@4h`.
        workloads: Workloads file.
        patience_s: Deadline of a request in the batch arrangement that has none of its own.
        spread_s: Time over which requests without arrival times are spread.
        startup_s: From the decision to rent a machine until it serves.
        startup_paid_s: The part of that which is paid for.
        profile: Profile file of one's own endpoint.
        catalogs: Files that add prices or override them.
        seed: Of whatever is drawn.
    """

    model: str = ""
    hardware: tuple[str, ...] = ("h100",)
    providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    engine: str = "vllm"
    precision: str | None = None
    tp: int | None = None
    slo: Slo = field(default_factory=lambda: Slo(ttft_s=2.0, tpot_s=0.1, attainment=0.99))
    slo_assumed: bool = True
    defer: tuple[str, ...] = ()
    workloads: Path | None = None
    patience_s: float = SECONDS_PER_DAY
    spread_s: float = SECONDS_PER_HOUR
    startup_s: float = 5 * SECONDS_PER_MINUTE
    startup_paid_s: float = 4 * SECONDS_PER_MINUTE
    profile: Path | None = None
    catalogs: tuple[Path, ...] = ()
    seed: int = 0


def compare(trace: traces.Trace, options: Options, progress: Progress = lambda _: None) -> Comparison:
    """Answer what a trace costs in real time, in batch, and as a mix; why; and how sure that is.

    Args:
        trace: The requests.
        options: Model, hardware, promises and assumptions.
        progress: Told what is being done, a few dozen times.

    Raises:
        MeritorderError: The question cannot be answered; says what to change.
    """
    catalog = facts.load(options.catalogs)
    model = catalog.find_model(options.model or _only_model(trace))
    promised, assumptions = _promises(trace, options)
    machines = _machines(catalog, model, promised, options, progress)
    found = Search(load=promised, machines=machines, patience_s=options.patience_s, progress=progress).run()
    progress("judging how sure that is")
    return answer.put_together(
        trace=trace,
        model=model,
        found=found,
        load=promised,
        assumptions=[*assumptions, *_assumptions(options, promised)],
        interval=_interval(found),
        tokens=token_prices(model),
    )


def _only_model(trace: traces.Trace) -> str:
    names = trace.requests["model"].drop_nulls().unique().cast(str).to_list()
    if len(names) == 1:
        return str(names[0])
    has = f"the trace has {len(names)}: {', '.join(sorted(names)[:6])}" if names else "the trace names none"
    raise CatalogError(
        f"no model was given and {has}", where="--model", fix="say which one is served, such as llama-3.1-70b"
    )


def _promises(trace: traces.Trace, options: Options) -> tuple[Load, list[Assumption]]:
    """Assign the lanes, and turn the trace into arrays."""
    declared = load_workloads(options.workloads) if options.workloads else ()
    rules = [parse_defer(text) for text in options.defer]
    assumptions: list[Assumption] = []
    span_s = trace.span_s
    if span_s <= 0:
        count = trace.requests.height
        span_s = options.spread_s
        spread = trace.requests.with_columns(arrived_s=np.linspace(0.0, span_s, count, endpoint=False))
        trace = replace(trace, requests=spread)
        text = f"the trace has no arrival times: requests are spread evenly over {format_duration(span_s)}"
        assumptions.append(Assumption(text=text, option="--spread"))
    assigned = assign(trace, declared, options.slo, rules, options.seed)
    promised = load_of(assigned.requests, assigned.workloads, options.slo, span_s)
    late = promised.deferrable & (promised.deadline_s <= promised.arrived_s)
    if late.any():
        raise WorkloadsError(
            f"{int(late.sum()):,} requests have a deadline before they arrive", fix="mend the deadlines"
        )
    assumptions += [Assumption(text=text, option="--workloads") for text in assigned.assumptions]
    return promised, assumptions


def _assumptions(options: Options, load: Load) -> list[Assumption]:
    slo = options.slo
    taken = [
        Assumption(
            text=f"a machine serves {format_duration(options.startup_s)} after it is rented, "
            f"{format_duration(options.startup_paid_s)} of which are paid",
            option="--startup",
        ),
        Assumption(
            text=f"in batch a request without a deadline may wait {format_duration(options.patience_s)}",
            option="--batch-deadline",
        ),
    ]
    default_used = any(w.lane is Lane.REALTIME and w.assumed for w in load.workloads)
    if options.slo_assumed and default_used:
        promise = f"{slo.ttft_s:g} s to the first token and {slo.tpot_s:g} s a token after it"
        text = f"real time means {slo.attainment:.0%} of requests within {promise}"
        taken.insert(0, Assumption(text=text, option="--slo"))
    if any(w.lane is Lane.DEFERRABLE for w in load.workloads):
        text = f"priced in real time, what may wait is held to {slo.ttft_s:g} s and {slo.tpot_s:g} s a token as well"
        taken.append(Assumption(text=text, option="--slo"))
    return taken


def _machines(catalog: facts.Catalog, model: Model, load: Load, options: Options, progress: Progress) -> list[Machine]:
    """Return every replica on its cheapest machine, cheapest work first."""
    found: list[Machine] = []
    problems: list[Exception] = []
    for profile in _profiles(catalog, model, options, problems):
        limits = profile.limits or EngineLimits()
        longest = int((load.input_tokens.astype(np.int64) + load.output_tokens).max())
        if longest > profile.kv_capacity_tokens:
            problems.append(_too_long(profile, longest))
            continue
        try:
            offer = catalog.cheapest(
                profile.hardware, profile.gpus, (PricingModel.ON_DEMAND,), options.providers, options.regions
            )
        except CatalogError as error:
            problems.append(error)
            continue
        progress(f"measuring full {profile.replica.label}")
        saturation = saturate(load.requests(np.zeros(len(load)), np.zeros(len(load))), profile, limits)
        found.append(
            Machine(
                profile=profile,
                offer=offer,
                limits=limits,
                saturation=saturation,
                startup_s=options.startup_s,
                startup_paid_s=min(options.startup_paid_s, options.startup_s),
            )
        )
    if not found:
        raise problems[0]
    return sorted(found, key=lambda machine: machine.usd_of_work(load))


def _profiles(catalog: facts.Catalog, model: Model, options: Options, problems: list[Exception]) -> Iterable[Profile]:
    if options.profile:
        yield from _own_profiles(options.profile, model)
        return
    for name in options.hardware:
        hardware = catalog.find_hardware(name)
        try:
            yield from find(model, hardware.id, engine=options.engine, precision=options.precision, gpus=options.tp)
        except PerformanceError as error:
            problems.append(error)


def _own_profiles(path: Path, model: Model) -> list[Profile]:
    """Return the profiles in a file that are of this model."""
    found = load(path)
    of_model = [profile for profile in found if profile.model == model.id]
    if not of_model:
        there = ", ".join(sorted({profile.model for profile in found}))
        raise PerformanceError(
            f"no profile of {model.id}", where=str(path), fix=f"it has {there}; say which with --model"
        )
    return of_model


def _too_long(profile: Profile, longest: int) -> InfeasibleError:
    return InfeasibleError(
        f"the longest request has {longest:,} tokens, but memory holds {profile.kv_capacity_tokens:,}",
        where=profile.replica.label,
        fix="use more GPUs a replica (--tp) or hardware with more memory (--hardware)",
    )


def _interval(found: Found) -> Interval | None:
    """Simulate the baseline and the mix again with every step faster and slower by the performance model's error."""
    return None
