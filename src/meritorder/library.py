"""The questions of the Python API, and their answers: records that write and show themselves.

Every answer forwards attributes to its record (`answer.sentence`), and renders it only when asked to.
"""

import html
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from meritorder import documents, planfile
from meritorder.comparison import Comparison
from meritorder.errors import ConfigError
from meritorder.estimation import Estimate
from meritorder.findings import Audit
from meritorder.report import files

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from meritorder.bills import Bill
    from meritorder.perf.profile import Profile
    from meritorder.study.audit.context import AuditOptions
    from meritorder.study.fleet.options import CompareOptions
    from meritorder.study.schedule.options import PlanOptions
    from meritorder.traces import Trace
    from meritorder.traces.synthetic import Traffic

Record = TypeVar("Record")
Progress = Callable[[str], None]

_TEXT_COLUMNS: Final = 120
_NOTEBOOK_HEIGHT_PX: Final = 720
_TEXT_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Meritorder</title>
<style>body {{ color: {foreground}; background: {background}; font-family: ui-monospace, monospace }}</style>
</head>
<body><pre>{code}</pre></body>
</html>
"""


def _silent(_: str) -> None:
    """Ignore progress."""


class Answer(ABC, Generic[Record]):
    """The answer to a question, around its record.

    Args:
        record: The figures; attributes of the answer are attributes of the record.
    """

    def __init__(self, record: Record) -> None:
        self.record = record

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "record":  # not of the record, or not set while a copy is made
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.record, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.record)})

    @abstractmethod
    def to_json(self) -> str:
        """Return the answer as JSON, in the form that the command writes."""

    def to_html(self) -> str:
        """Return the answer as one HTML page that needs no network."""
        console = _console(record=True)
        self._print(console)
        return console.export_html(inline_styles=True, code_format=_TEXT_PAGE)

    @abstractmethod
    def _print(self, console: "Console") -> None:
        """Print what the command prints."""

    def _contents(self) -> dict[str, Callable[[], str | bytes]]:
        """Return suffix to content, for `write`."""
        return {".json": self.to_json, ".html": self.to_html}

    def write(self, path: str | Path) -> Path:
        """Write the answer to a file, whole or not at all; its suffix decides the form, such as .json or .html.

        Raises:
            ConfigError: The suffix is unknown, or the file cannot be written.
        """
        target = Path(path)
        contents = self._contents()
        if target.suffix not in contents:
            raise ConfigError(f"unknown suffix {target.suffix!r}", where=str(path), fix=f"use {' or '.join(contents)}")
        files.check_target(target)
        content = contents[target.suffix]()
        files.write_bytes(target, content.encode() if isinstance(content, str) else content)
        return target

    def __str__(self) -> str:
        console = _console()
        self._print(console)
        written = console.file.getvalue()  # type: ignore[attr-defined]
        return str(written)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.record!r})"

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own so that neither styles the other."""
        page = html.escape(self.to_html())
        return f'<iframe srcdoc="{page}" style="width: 100%; height: {_NOTEBOOK_HEIGHT_PX}px; border: 0"></iframe>'


class ComparisonAnswer(Answer[Comparison]):
    """What a trace costs in real time, in batch and as a mix."""

    def to_json(self) -> str:
        """Return the answer as JSON, in the form that `meritorder compare` writes."""
        return documents.encode(self.record).decode()

    def to_html(self) -> str:
        """Return the report as one HTML page that needs no network."""
        from meritorder.report.compare import html as page

        return page.render(self.record)

    def _print(self, console: "Console") -> None:
        from meritorder.report.compare import text

        text.render(self.record, console)


class EstimateAnswer(Answer[Estimate]):
    """What traffic in a few numbers, or one job, costs in every way to serve it."""

    def to_json(self) -> str:
        """Return the answer as JSON, in the form that `meritorder estimate` writes."""
        return documents.encode(self.record).decode()

    def to_html(self) -> str:
        """Return the report as one HTML page that needs no network."""
        from meritorder.report.compare import estimate_html as page

        return page.render(self.record)

    def _print(self, console: "Console") -> None:
        from meritorder.report.compare import estimate as text

        text.render(self.record, console)


class PlanAnswer(Answer[planfile.Plan]):
    """The cheapest plan for a trace, as simulated."""

    def to_json(self) -> str:
        """Return the plan as JSON, in the form that `simulate` and the gateway read."""
        return documents.encode(self.record).decode()

    def to_html(self) -> str:
        """Return the report as one HTML page that needs no network."""
        from meritorder.report.plan import html as page

        return page.render(self.record)

    def _print(self, console: "Console") -> None:
        from meritorder.report.plan import text

        text.render(self.record, console)


class SimulationAnswer(Answer[planfile.PlanOutcome]):
    """The result of a plan on a trace.

    Args:
        record: The result.
        plan: The plan.
        plan_name: Its file, or what else it is called.
    """

    def __init__(self, record: planfile.PlanOutcome, plan: planfile.Plan, plan_name: str) -> None:
        super().__init__(record)
        self.plan = plan
        self.plan_name = plan_name

    def to_json(self) -> str:
        """Return the result as JSON, in the form that `meritorder simulate` writes."""
        return documents.encode(planfile.PlanSimulation(plan=self.plan_name, simulated=self.record)).decode()

    def _print(self, console: "Console") -> None:
        from meritorder.report.plan import simulation

        simulation.render(self.plan, self.record, self.record.trace, console)


class AuditAnswer(Answer[Audit]):
    """What is overpaid for inference, from a bill."""

    def to_json(self) -> str:
        """Return the findings as JSON, in the form that `meritorder audit` writes."""
        return documents.encode(self.record).decode()

    def to_html(self) -> str:
        """Return the report as one HTML page that needs no network."""
        from meritorder.report.audit import html as page

        return page.render(self.record)

    def to_csv(self) -> str:
        """Return the findings as CSV, one a row."""
        from meritorder.report.audit import record

        return record.to_csv(self.record)

    def _contents(self) -> dict[str, Callable[[], str | bytes]]:
        return super()._contents() | {".csv": self.to_csv}

    def _print(self, console: "Console") -> None:
        from meritorder.report.audit import text

        text.render(self.record, console)


class SweepAnswer(Answer["pl.DataFrame"]):
    """A row for every combination of what was varied and every arrangement.

    Args:
        record: The rows.
        axes: Names of what was varied.
    """

    def __init__(self, record: "pl.DataFrame", axes: Sequence[str]) -> None:
        super().__init__(record)
        self.axes = tuple(axes)

    def to_json(self) -> str:
        """Return the rows as a JSON array of objects."""
        return self.record.write_json()

    def to_html(self) -> str:
        """Return the figure of cost against latency as one HTML page that needs no network."""
        from meritorder.report.compare import sweep as report

        return report.to_html(self.record, self.axes)

    def to_parquet(self) -> bytes:
        """Return the rows as a Parquet file, as `meritorder sweep` writes it."""
        from meritorder.report.compare import sweep as report

        return report.to_parquet(self.record)

    def _contents(self) -> dict[str, Callable[[], str | bytes]]:
        return super()._contents() | {".parquet": self.to_parquet}

    def _print(self, console: "Console") -> None:
        from meritorder.report.compare import sweep as report

        report.render(self.record, self.axes, console)


class CalibrationAnswer(Answer["tuple[Profile, ...]"]):
    """Performance profiles fitted to measured requests, one for each configuration in the log."""

    record: "tuple[Profile, ...]"

    def to_json(self) -> str:
        """Return the profiles as a JSON array."""
        import msgspec

        return msgspec.json.format(msgspec.json.encode(self.record)).decode()

    def to_toml(self) -> str:
        """Return the profiles as `meritorder calibrate` writes them, for `CompareOptions(profile=…)`."""
        from meritorder.perf.shipped import to_toml

        return to_toml(self.record)

    def _contents(self) -> dict[str, Callable[[], str | bytes]]:
        return super()._contents() | {".toml": self.to_toml}

    def _print(self, console: "Console") -> None:
        from meritorder.report import calibration

        calibration.render(self.record, console)


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
    from meritorder.traces.synthetic import Traffic

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
    vary: Mapping[str, Sequence[object]],
    processes: int | None = None,
    ray_address: str = "",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> SweepAnswer:
    """Compare at every combination of some values.

    Args:
        trace: The requests, from `read_trace`.
        options: Model, hardware, SLO and assumptions; `vary` overrides them.
        vary: Name to values, such as `{"share": ["0%", "20%"], "hardware": ["h100", "h200"]}`.
        processes: Processes on this machine; None takes one for each processor.
        ray_address: Address of a Ray cluster to run on instead.
        progress: Receives how many of all points are done.

    Raises:
        ConfigError: A name or value is unknown.
    """
    from meritorder.study.compare import sweep as study
    from meritorder.study.fleet.options import CompareOptions

    axes = study.parse_axes([f"{name}={','.join(map(str, values))}" for name, values in vary.items()])
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


def _console(*, record: bool = False) -> "Console":
    from rich.console import Console

    return Console(file=io.StringIO(), width=_TEXT_COLUMNS, record=record)
