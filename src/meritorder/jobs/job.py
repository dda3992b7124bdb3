"""A job: rows of files, answered by endpoints through Ray Data. Its folder of answers says what is done."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from meritorder.errors import ConfigError
from meritorder.inputs.prompts import PromptRules
from meritorder.jobs.asking import AskingOptions, RowAnswerer
from meritorder.jobs.cluster import connected
from meritorder.jobs.output import OutputFolder
from meritorder.jobs.rows import RowRules
from meritorder.jobs.runs import Runs
from meritorder.jobs.sources import absolute, read_files
from meritorder.jobs.spending import Budget, Tokens
from meritorder.records.job import JobRun
from meritorder.units import SECONDS_PER_HOUR, utc

_WORKER_CPUS: Final = 0.5  # a worker waits for endpoints most of the time
_READER_CPUS: Final = 0.25
_TASKS_OF_WORKER: Final = 2  # so that calls of the next begin before the last of one ends
_ERROR: Final = re.compile(r"[\w.]*(Error|Exception)\b")
_PARTS_OF_WORKER: Final = 8
_BLOCK_BYTES: Final = 4 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """A job.

    Args:
        inputs: Files and folders of rows, paths or URLs.
        out: Folder of the answers.
        prompts: How prompts become requests.
        asking: How endpoints are asked.
        id_column: Column that identifies rows; see `RowRules`.
        workers: Workers that ask.
        rows_per_file: Most rows of a file of answers.
        budget_usd: What all runs together may spend; None without a budget.
        usd_per_hour: Price of the machines that serve the job; None if it is paid by the token, or not at all.
        cluster: Address of a Ray cluster; empty for this machine.
    """

    inputs: tuple[str, ...]
    out: str
    prompts: PromptRules
    asking: AskingOptions
    id_column: str = ""
    workers: int = 1
    rows_per_file: int = 500
    budget_usd: float | None = None
    usd_per_hour: float | None = None
    cluster: str = ""


@dataclass(slots=True)
class _Sums:
    """Sums over the rows of a run, by the names of a worker's report."""

    rows: int = 0
    failed: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    left: int = 0
    why: str = ""

    def add(self, report: dict[str, list[Any]]) -> None:
        for name in ("rows", "failed", "left"):
            setattr(self, name, getattr(self, name) + sum(report[name]))
        self.tokens += Tokens(sum(report["input_tokens"]), sum(report["output_tokens"]))
        self.why = self.why or next(filter(None, report["why"]), "")


@dataclass(frozen=True, slots=True)
class _Lease:
    """Leases dollars of a budget that lives in a process of its own."""

    budget: Any

    async def __call__(self, usd: float) -> float:
        leased_usd: float = await self.budget.lease.remote(usd)
        return leased_usd


def run_job(options: JobOptions, progress: Callable[[str], None]) -> JobRun:
    """Answer all rows that have no answer yet, and return what was done.

    A row with a stored answer is not asked again, by this run or a later one. What is in flight when a worker is lost
    is asked again; the folder keeps one answer of it.

    Args:
        options: The job.
        progress: Takes what was done so far, as text.

    Raises:
        ConfigError: Files cannot be read or written, another run is at work, or no cluster responds.
    """
    output, runs = OutputFolder(options.out), Runs(options.out)
    with runs.alone():
        run = _Run(options, output, runs)
        with runs.recorded(run.record), connected(options.cluster):
            run.answer(progress)
        run.end()
        record = run.record()
        runs.write(record)
    return record


class _Run:
    """A run of a job from its start to its end."""

    def __init__(self, options: JobOptions, output: OutputFolder, runs: Runs) -> None:
        self._output, self._runs = output, runs
        self._started_s = time.time()
        self._earlier = runs.read()
        self._stored = output.remove_repeated()
        self._repeated, self._repeated_tokens = 0, self._stored.repeated_tokens
        self._tokens_before = self._job_tokens()
        self._tokens_after: Tokens | None = None
        self._sums = _Sums()
        self._deadline_s = options.asking.deadline_s
        self._options = replace(options, asking=replace(options.asking, deadline_s=self._end_s(options)))

    def answer(self, progress: Callable[[str], None]) -> None:
        """Answer the rows that have no answer yet."""
        try:
            for report in self._reports():
                self._sums.add(report)
                self._runs.check()
                progress(_progress(self._sums, time.time() - self._started_s))
        except RayError as error:
            raise ConfigError(f"the job stopped: {_reason(error)}", where="run", fix="run it again to go on") from error

    def end(self) -> None:
        """Keep one answer of each id."""
        self._stored = self._output.remove_repeated()
        self._repeated = self._stored.repeated
        self._repeated_tokens += self._stored.repeated_tokens
        self._tokens_after = self._job_tokens()

    def record(self) -> JobRun:
        """Return what the run has done so far."""
        options, sums, now_s = self._options, self._sums, time.time()
        cost_usd = job_cost_usd = None
        if options.usd_per_hour is not None:
            cost_usd = (now_s - self._started_s) / SECONDS_PER_HOUR * options.usd_per_hour
            job_cost_usd = cost_usd + self._earlier_usd
        elif any(options.asking.usd_per_token):
            cost_usd = options.asking.cost_usd(sums.tokens)
            job_cost_usd = options.asking.cost_usd(self._tokens_after or self._tokens_before + sums.tokens)
        return JobRun(
            out=options.out,
            started=utc(self._started_s).isoformat(timespec="seconds"),
            ended=utc(now_s).isoformat(timespec="seconds"),
            deadline=None if self._deadline_s is None else utc(self._deadline_s).isoformat(timespec="seconds"),
            answered=sums.rows,
            failed=sums.failed,
            left=sums.left,
            why_left=sums.why,
            rows=self._stored.hashes.size,
            repeated=self._repeated,
            input_tokens=sums.tokens.input,
            output_tokens=sums.tokens.output,
            cost_usd=cost_usd,
            job_cost_usd=job_cost_usd,
            repeated_input_tokens=self._repeated_tokens.input,
            repeated_output_tokens=self._repeated_tokens.output,
        )

    @property
    def _earlier_usd(self) -> float:
        return sum(run.cost_usd or 0.0 for run in self._earlier)

    def _job_tokens(self) -> Tokens:
        """Return the tokens of all answers that the job has stored, of those that were removed too."""
        removed = [Tokens(run.repeated_input_tokens, run.repeated_output_tokens) for run in self._earlier]
        return sum(removed, self._output.tokens() + self._repeated_tokens)

    def _end_s(self, options: JobOptions) -> float | None:
        """Return when the run has to end: at its deadline, or when its machines have cost the budget."""
        ends_s = [options.asking.deadline_s]
        if options.budget_usd is not None and options.usd_per_hour:
            left_usd = options.budget_usd - self._earlier_usd
            ends_s.append(self._started_s + left_usd / options.usd_per_hour * SECONDS_PER_HOUR)
        return min((end_s for end_s in ends_s if end_s is not None), default=None)

    def _reports(self) -> Iterator[dict[str, list[Any]]]:
        """Yield the reports of workers, as they answer rows."""
        options = self._options
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = _BLOCK_BYTES
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        dataset, are_prompts = read_files(
            [absolute(path) for path in options.inputs], _PARTS_OF_WORKER * options.workers, _READER_CPUS
        )
        reports = dataset.map_batches(
            RowAnswerer,
            fn_constructor_kwargs={
                "rules": RowRules(id_column=options.id_column, are_prompts=are_prompts, prompts=options.prompts),
                "options": options.asking,
                "folder": absolute(options.out),
                "answered": self._stored,
                "lease": self._lease(),
            },
            batch_size=options.rows_per_file,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=options.workers, max_concurrent_calls_per_actor=_TASKS_OF_WORKER),
            num_cpus=_WORKER_CPUS,
        )
        for report in reports.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield cast("pa.Table", report).to_pydict()

    def _lease(self) -> _Lease | None:
        """Return what leases dollars of a budget for tokens; it lives on the node of this process."""
        options = self._options
        if options.budget_usd is None or options.usd_per_hour is not None:
            return None
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        budget = ray.remote(Budget).options(num_cpus=0, scheduling_strategy=here)
        return _Lease(budget.remote(options.budget_usd - options.asking.cost_usd(self._tokens_before)))


def _reason(error: RayError) -> str:
    """Return the line of an error of Ray, which has a traceback and advice, that names what is wrong."""
    lines = str(error).strip().splitlines()
    return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1])


def _progress(sums: _Sums, elapsed_s: float) -> str:
    failed = f", {sums.failed:,} with an error" if sums.failed else ""
    return f"{sums.rows:,} rows answered{failed}, {sums.rows / elapsed_s:,.0f} a second"
