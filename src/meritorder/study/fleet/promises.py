"""A trace with the promise made to each of its requests."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from meritorder.domain import Workload
from meritorder.errors import CatalogError, WorkloadsError
from meritorder.evidence import Assumption
from meritorder.study.fleet.load import TraceLoad, load_from_requests
from meritorder.study.fleet.options import Options
from meritorder.traces import Trace
from meritorder.traces.workloads import assign, load_workloads, parse_defer
from meritorder.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedTrace:
    """Requests with their promises.

    Args:
        requests: REQUESTS with workloads and deadlines filled in.
        workloads: Those that took a request.
        declared: Those of the workloads file.
        span_s: Time that the trace stands for.
        assumptions: What was assumed.
    """

    requests: pl.DataFrame
    workloads: tuple[Workload, ...]
    declared: tuple[Workload, ...]
    span_s: float
    assumptions: tuple[Assumption, ...]

    def load(self, options: Options, model: str | None = None) -> TraceLoad:
        """Return the requests as arrays.

        Args:
            options: For the default promise.
            model: Only those that the trace says are for this model.

        Raises:
            WorkloadsError: A request is due before it arrives.
        """
        requests = self.requests if model is None else self.requests.filter(pl.col("model").cast(pl.String) == model)
        load = load_from_requests(requests, self.workloads, options.default_slo, self.span_s)
        late = load.deferrable & (load.deadline_s <= load.arrived_s)
        if late.any():
            raise WorkloadsError(
                f"{int(late.sum()):,} requests have a deadline before they arrive", fix="mend the deadlines"
            )
        return load


def assign_workloads(trace: Trace, options: Options, declared: tuple[Workload, ...] | None = None) -> AssignedTrace:
    """Assign the lanes and deadlines of a trace.

    Args:
        trace: The requests.
        options: Workloads file, shares that may wait, default promise.
        declared: Workloads to take instead of those of the file.
    """
    if declared is None:
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
    assigned = assign(trace, declared, options.default_slo, rules, options.seed)
    assumptions += [Assumption(text=text, option=_option_of(text)) for text in assigned.assumptions]
    return AssignedTrace(
        requests=assigned.requests,
        workloads=assigned.workloads,
        declared=declared,
        span_s=span_s,
        assumptions=tuple(assumptions),
    )


def only_model(trace: Trace) -> str:
    """Return the one model that a trace names.

    Raises:
        CatalogError: It names none, or several.
    """
    names = trace_models(trace)
    if len(names) == 1:
        return names[0]
    has = f"the trace has {len(names)}: {', '.join(sorted(names)[:6])}" if names else "the trace names none"
    raise CatalogError(
        f"no model was given and {has}", where="--model", fix="say which one is served, such as llama-3.1-70b"
    )


def trace_models(trace: Trace) -> list[str]:
    """Return the models that a trace names, in order of their names."""
    return sorted(str(name) for name in trace.requests["model"].drop_nulls().unique().cast(pl.String).to_list())


def _option_of(text: str) -> str:
    return "--defer" if "able to wait" in text else "--workloads"
