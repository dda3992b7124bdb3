"""What a trace costs in real time, in batch, and as a mix."""

from typing import Final

from meritorder import catalog as facts
from meritorder import traces
from meritorder.catalog.tokens import token_prices
from meritorder.comparison import Comparison
from meritorder.domain import Lane
from meritorder.errors import CatalogError
from meritorder.evidence import Assumption
from meritorder.study.compare.answer import assemble
from meritorder.study.compare.certainty import saving_interval
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, find_machines
from meritorder.study.fleet.options import Options, Progress
from meritorder.study.fleet.search import Search
from meritorder.study.fleet.spot import spot_assumptions, spot_machines
from meritorder.study.fleet.workloads import access_assumptions, assign_workloads, only_model, permitted_to_all
from meritorder.units import SECONDS_PER_DAY, format_duration

__all__ = ["Options", "compare"]

_NO_SPOT: Final = "list them with meritorder prices --hardware NAME, or add a price with --catalog"


def compare(trace: traces.Trace, options: Options, progress: Progress = lambda _: None) -> Comparison:
    """Return what a trace costs in real time, in batch, and as a mix; why they differ; and the interval of the saving.

    Args:
        trace: The requests.
        options: Model, hardware, SLO, deadlines and assumptions.
        progress: Receives each step, a few dozen in all.

    Raises:
        MeritorderError: There is no answer; the message says what to change.
    """
    catalog = facts.load(options.catalogs)
    model = catalog.find_model(options.model or only_model(trace))
    assigned = assign_workloads(trace, options)
    load = assigned.load(options)
    catalog, tokens = permitted_to_all(catalog, token_prices(model), assigned)
    machines = find_machines(catalog, model, load, options, progress)
    spot = _spot_machines(catalog, machines, load, options)
    cheapest = min([*machines[:1], *spot], key=lambda machine: machine.price_work(load))
    search = Search(
        load=load,
        machines=machines,
        batch_machine=cheapest,
        on_demand_machine=machines[0] if cheapest.interruptions else None,
        patience_s=options.patience_s,
        present_replicas=options.replicas,
        progress=progress,
    )
    found = search.run()
    progress("computing the interval of the saving")
    return assemble(
        trace=trace,
        model=model,
        found=found,
        load=load,
        assumptions=[
            *assigned.assumptions,
            *access_assumptions(assigned.workloads),
            *_assumptions(options, load),
            *spot_assumptions(cheapest, options),
        ],
        interval=saving_interval(found, search, options.seed),
        prices=tokens,
    )


def _spot_machines(
    catalog: facts.Catalog, machines: list[CandidateMachine], load: TraceLoad, options: Options
) -> list[CandidateMachine]:
    """Return spot machines for deferrable work, if the options ask for them."""
    if not (options.spot or options.spot_trace):
        return []
    last_s = float(load.all_deferrable(options.patience_s).deadline_s.max())
    found = spot_machines(catalog, machines, options, last_s + SECONDS_PER_DAY)
    if not found and options.spot_trace:
        raise CatalogError("no spot machine is known for these replicas", where="--spot-trace", fix=_NO_SPOT)
    return found


def _assumptions(options: Options, load: TraceLoad) -> list[Assumption]:
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
