"""What a trace costs in real time, in batch, and as a mix."""

from dataclasses import replace

from meritorder import catalog as facts
from meritorder import traces
from meritorder.catalog.tokens import token_prices
from meritorder.comparison import Assumption, Comparison, Interval
from meritorder.domain import Lane
from meritorder.errors import InfeasibleError
from meritorder.perf.accuracy import accuracy
from meritorder.study import answer
from meritorder.study.fleets import Machine
from meritorder.study.load import Load
from meritorder.study.machines import ASSUMED_INTERRUPTIONS_PER_MONTH, machines_for, spot_machines
from meritorder.study.options import Options
from meritorder.study.promises import only_model, promise
from meritorder.study.search import Found, Progress, Search
from meritorder.units import format_duration

__all__ = ["Options", "compare"]


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
    model = catalog.find_model(options.model or only_model(trace))
    given = promise(trace, options)
    promised = given.load(options)
    machines = machines_for(catalog, model, promised, options, progress)
    cheapest = [*machines[:1], *(spot_machines(catalog, machines, options) if options.spot else [])]
    search = Search(
        load=promised,
        machines=machines,
        batch_machine=min(cheapest, key=lambda machine: machine.usd_of_work(promised)),
        patience_s=options.patience_s,
        present_replicas=options.replicas,
        progress=progress,
    )
    found = search.run()
    progress("judging how sure that is")
    return answer.put_together(
        trace=trace,
        model=model,
        found=found,
        load=promised,
        assumptions=[*given.assumptions, *_assumptions(options, promised), *_spot_assumptions(search.batch_machine)],
        interval=_interval(found, search),
        tokens=token_prices(model),
    )


def _assumptions(options: Options, load: Load) -> list[Assumption]:
    slo = options.promise
    taken = [
        Assumption(
            text=f"a machine serves {format_duration(options.startup.total_s)} after it is rented, "
            f"{format_duration(options.startup.paid_s)} of which are paid",
            option="--startup",
        ),
        Assumption(
            text=f"in batch a request without a deadline may wait {format_duration(options.patience_s)}",
            option="--batch-deadline",
        ),
    ]
    default_used = any(w.lane is Lane.REALTIME and w.assumed for w in load.workloads)
    if options.slo is None and default_used:
        promise = f"{slo.ttft_s:g} s to the first token and {slo.tpot_s:g} s a token after it"
        text = f"real time means {slo.attainment:.0%} of requests within {promise}"
        taken.insert(0, Assumption(text=text, option="--slo"))
    if any(w.lane is Lane.DEFERRABLE for w in load.workloads):
        text = f"priced in real time, what may wait is held to {slo.ttft_s:g} s and {slo.tpot_s:g} s a token as well"
        taken.append(Assumption(text=text, option="--slo"))
    return taken


def _spot_assumptions(machine: Machine) -> list[Assumption]:
    if not machine.lives_s:
        return []
    share = machine.offer.interruptions_per_month
    text = (
        f"spot machines are taken back as the provider states: {share:.1%} of them a month"
        if share is not None
        else f"spot machines are taken back at {ASSUMED_INTERRUPTIONS_PER_MONTH:.0%} a month, which nobody states"
    )
    return [Assumption(text=f"{text}, at random, with the work that they hold", option="--spot")]


def _interval(found: Found, search: Search) -> Interval | None:
    """Search again with every step faster and slower by the performance model's measured error."""
    if found.mix.usd >= found.baseline.usd:
        return None
    used: list[Machine] = []
    for machine in (machine for trial in (found.baseline, found.mix) for machine, _ in trial.pools):
        if machine not in used:
            used.append(machine)
    profiles = [machine.profile for machine in used]
    found_accuracy = [accuracy(profile) for profile in profiles]
    known = [each for each in found_accuracy if each is not None]
    if len(known) < len(profiles):
        return None
    worst = max(known, key=lambda each: each.error)
    error = worst.error
    shares = [1 - found.mix.usd / found.baseline.usd]
    for factor in (1 - error, 1 + error):
        again = replace(
            search,
            machines=[machine.slowed(factor) for machine in used if not machine.lives_s],
            batch_machine=search.batch_machine.slowed(factor),
            autoscale=found.baseline.autoscales or found.mix.autoscales,
            tried=[],
        )
        try:
            shares.append(again.saving_share())
        except InfeasibleError:
            continue
    basis = f"every step {error:.0%} faster and slower ({worst.basis}), whole machines bought anew each time"
    return Interval(low=min(shares), high=max(shares), basis=basis)
