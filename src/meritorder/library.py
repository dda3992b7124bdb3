"""The questions of the Python API."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meritorder.answers import (
    AuditAnswer,
    CalibrationAnswer,
    ComparisonAnswer,
    EstimateAnswer,
    PlanAnswer,
    SimulationAnswer,
    SweepAnswer,
)
from meritorder.errors import ConfigError
from meritorder.records import planfile

if TYPE_CHECKING:
    from meritorder.bills import Bill
    from meritorder.study.audit.context import AuditOptions
    from meritorder.study.fleet.options import CompareOptions
    from meritorder.study.schedule.options import PlanOptions
    from meritorder.traces import Trace
    from meritorder.traces.generated.synthetic import Traffic

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    """Ignore progress."""


def compare(
    trace: "Trace", options: "CompareOptions | None" = None, *, progress: Progress = _silent
) -> ComparisonAnswer:
    """Answer what a trace costs in real time, in batch and as a mix, why, and how certain that is.

    Args:
        trace: The requests, from `read_trace`.
        options: Model, hardware, SLO and assumptions.
        progress: Receives a line for each step.

    Raises:
        MeritorderError: There is no answer; the message names what to change.
    """
    from meritorder.study.compare.compare import compare as study
    from meritorder.study.fleet.options import CompareOptions

    return ComparisonAnswer(study(trace, options or CompareOptions(), progress))


def estimate(
    requests: "Traffic | Trace",
    options: "CompareOptions | None" = None,
    *,
    by: str = "",
    progress: Progress = _silent,
) -> EstimateAnswer:
    """Estimate what traffic costs in a month from a few numbers, or find the cheapest way for one job.

    Args:
        requests: Traffic in a few numbers; or the requests of a job, from `read_trace`.
        options: Model, hardware, SLO; `defer` is the share of the traffic that can wait.
        by: Time until a job must be done, such as "24h".
        progress: Receives a line for each step.

    Raises:
        MeritorderError: There is no answer; the message names what to change.
    """
    from meritorder.study.fleet.options import CompareOptions
    from meritorder.traces.generated.synthetic import Traffic

    options = options or CompareOptions()
    if isinstance(requests, Traffic):
        from meritorder.study.estimate.traffic import estimate_traffic

        return EstimateAnswer(estimate_traffic(requests, options, progress))
    from meritorder.study.estimate.job import estimate_job
    from meritorder.units import parse_duration_s

    by_s = parse_duration_s(by)
    if not by_s:
        raise ConfigError(f"{by!r} is not a time until which the job must be done", where="by", fix='such as "24h"')
    return EstimateAnswer(estimate_job(requests, by_s, options, progress))


def plan(trace: "Trace", options: "PlanOptions | None" = None, *, progress: Progress = _silent) -> PlanAnswer:
    """Find the cheapest plan for a trace, and simulate it request by request.

    Args:
        trace: The requests, from `read_trace`.
        options: Models, machines, SLO, limits.
        progress: Receives a line for each step.

    Raises:
        MeritorderError: There is no plan; the message names the obstacle and a remedy.
    """
    from meritorder.study.plan.answer import plan as study
    from meritorder.study.schedule.options import PlanOptions

    return PlanAnswer(study(trace, options or PlanOptions(), progress))


def simulate(
    trace: "Trace",
    plan: PlanAnswer | planfile.Plan | str | Path,
    *,
    catalogs: Sequence[str | Path] = (),
    seed: int | None = None,
) -> SimulationAnswer:
    """Simulate a plan on a trace: its own, or another to judge it by.

    Args:
        trace: The requests, from `read_trace`.
        plan: The plan, or its file.
        catalogs: Files of models that are not in the catalog.
        seed: Seed of the lifetimes of spot machines; None takes the plan's.

    Raises:
        ConfigError: The plan cannot be read, or does not fit the trace.
    """
    from meritorder.study.plan.replay import replay

    name = str(plan) if isinstance(plan, str | Path) else "plan"
    record = planfile.read_plan(Path(plan)) if isinstance(plan, str | Path) else plan
    record = record.record if isinstance(record, PlanAnswer) else record
    planned_seed = record.promises.seed if record.promises else 0
    drawn = planned_seed if seed is None else seed
    simulated = replay(record, trace, catalogs=tuple(map(Path, catalogs)), seed=drawn, where=name)
    return SimulationAnswer(simulated, record, name)


def audit(
    bill: "Bill",
    options: "AuditOptions | None" = None,
    trace: "Trace | None" = None,
    *,
    progress: Progress = _silent,
) -> AuditAnswer:
    """Find what is overpaid for inference, from a bill.

    Args:
        bill: The bill, from `read_bill`.
        options: What is known beside the bill.
        trace: The requests that the bill's machines served, for dollars per request.
        progress: Receives a line for each step.

    Raises:
        BillError: The options do not fit the bill.
    """
    from meritorder.study.audit.answer import audit as study

    return AuditAnswer(study(bill, options, trace, progress))


def sweep(
    trace: "Trace",
    options: "CompareOptions | None" = None,
    *,
    vary: Mapping[str, str | Sequence[object]],
    processes: int | None = None,
    ray_address: str = "",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> SweepAnswer:
    """Compare at every combination of some values.

    Args:
        trace: The requests, from `read_trace`.
        options: Model, hardware, SLO and assumptions; `vary` overrides them.
        vary: Name to values, such as `{"share": ["0%", "20%"], "hardware": ["h100", "h200"]}`.
        processes: Processes on this machine; None takes one for each processor. A script that uses several needs the
            guard `if __name__ == "__main__":`, since each imports it; 1 does without.
        ray_address: Address of a Ray cluster to run on instead.
        progress: Receives how many of all points are done.

    Raises:
        ConfigError: A name or value is unknown.
    """
    from meritorder.study.compare import sweep as study
    from meritorder.study.fleet.options import CompareOptions

    texts = {name: values if isinstance(values, str) else ",".join(map(str, values)) for name, values in vary.items()}
    axes = study.parse_axes([f"{name}={text}" for name, text in texts.items()])
    rows = study.sweep(
        trace, options or CompareOptions(), axes, processes=processes, ray_address=ray_address, progress=progress
    )
    return SweepAnswer(rows, [axis.name for axis in axes])


def calibrate(
    logs: str | Path | Sequence[str | Path],
    *,
    model: str = "",
    hardware: str = "",
    gpus: int | None = None,
    engine: str = "vllm",
    precision: str | None = None,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    kv_capacity_tokens: int | None = None,
    config: str = "",
    fit: int | None = None,
    format: str | None = None,  # noqa: A002  (the name of the option)
    columns: Mapping[str, str] | None = None,
    catalogs: Sequence[str | Path] = (),
    progress: Progress = _silent,
) -> CalibrationAnswer:
    """Fit performance profiles to logs of measured requests.

    Args:
        logs: Files or globs in any trace format with measured times.
        model: Name of the model, where the log has none.
        hardware: Name of the accelerator, where the log has none.
        gpus: GPUs of a replica, where the log has none.
        engine: Inference engine: vllm, sglang or trtllm.
        precision: Precision of the weights; None takes the model's own.
        max_num_seqs: Limit of the engine; None fits it.
        max_num_batched_tokens: Limit of the engine; None fits it.
        kv_capacity_tokens: Context tokens that fit into the memory of a replica; None fits it.
        config: Only this configuration of the log.
        fit: Requests to fit to, from the start of each log; None takes the first half.
        format: Name of the trace format; None detects it.
        columns: Field to column, as in `read_trace`.
        catalogs: Files with hardware and models to add.
        progress: Receives a line for each step.

    Raises:
        TraceError: A log cannot be read, or is too short.
        CatalogError: The model or the accelerator of a log is not known.
        PerformanceError: No profile fits a log.
    """
    from meritorder.study.calibrate.calibrate import KnownLimits, calibrate_logs
    from meritorder.study.calibrate.starting import Deployment

    sources = [logs] if isinstance(logs, str | Path) else logs
    deployment = Deployment(model=model, hardware=hardware, gpus=gpus, engine=engine, precision=precision)
    known = KnownLimits(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        kv_capacity_tokens=kv_capacity_tokens,
    )
    found = calibrate_logs(
        list(map(str, sources)),
        deployment,
        known,
        config=config,
        fit=fit,
        format=format,
        columns=columns,
        catalogs=list(map(Path, catalogs)),
        progress=progress,
    )
    return CalibrationAnswer(tuple(found))
