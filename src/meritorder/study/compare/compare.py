"""What a trace costs in real time, in batch, and as a mix."""

from typing import Final

from meritorder import catalog as facts
from meritorder import traces
from meritorder.catalog.tokens import token_prices
from meritorder.comparison import (
    Comparison,
)
from meritorder.domain import Lane
from meritorder.errors import CatalogError
from meritorder.evidence import Assumption
from meritorder.study.compare import answer
from meritorder.study.compare.certainty import saving_interval
from meritorder.study.fleet.access import access_assumptions, permitted_to_all
from meritorder.study.fleet.fleets import CandidateMachine
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import find_machines
from meritorder.study.fleet.options import Options
from meritorder.study.fleet.promises import assign_workloads, only_model
from meritorder.study.fleet.search import Progress, Search
from meritorder.study.fleet.spot import spot_assumptions, spot_machines
from meritorder.units import SECONDS_PER_DAY, format_duration

__all__ = ["Options", "compare"]

_NO_SPOT: Final = "see meritorder prices --hardware NAME for who sells it, or add a price with --catalog"


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
    given = assign_workloads(trace, options)
    promised = given.load(options)
    catalog, tokens = permitted_to_all(catalog, token_prices(model), given)
    machines = find_machines(catalog, model, promised, options, progress)
    taken_back = _taken_back(catalog, machines, promised, options)
    cheapest = min([*machines[:1], *taken_back], key=lambda machine: machine.price_work(promised))
    search = Search(
        load=promised,
        machines=machines,
        batch_machine=cheapest,
        on_demand_machine=machines[0] if cheapest.interruptions else None,
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
        assumptions=[
            *given.assumptions,
            *access_assumptions(given.workloads),
            *_assumptions(options, promised),
            *spot_assumptions(cheapest, options),
        ],
        interval=saving_interval(found, search, options.seed),
        prices=tokens,
    )


def _taken_back(
    catalog: facts.Catalog, machines: list[CandidateMachine], load: TraceLoad, options: Options
) -> list[CandidateMachine]:
    """Return spot machines for what can wait, if they were asked for."""
    if not (options.spot or options.spot_trace):
        return []
    last_s = float(load.all_deferrable(options.patience_s).deadline_s.max())
    found = spot_machines(catalog, machines, options, last_s + SECONDS_PER_DAY)
    if not found and options.spot_trace:
        raise CatalogError("no spot machine is known for these replicas", where="--spot-trace", fix=_NO_SPOT)
    return found


def _assumptions(options: Options, load: TraceLoad) -> list[Assumption]:
    slo = options.default_slo
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
