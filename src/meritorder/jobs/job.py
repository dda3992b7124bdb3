"""A job: rows of files, answered by endpoints through Ray Data. Its folder of answers says what is done."""

import logging
import math
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
from meritorder.jobs.asking import RowAnswerer
from meritorder.jobs.cluster import connected
from meritorder.jobs.options import JobOptions
from meritorder.jobs.output import OutputFolder, Totals
from meritorder.jobs.receipt import to_receipt
from meritorder.jobs.rows import RowRules
from meritorder.jobs.runs import Runs
from meritorder.jobs.sources import absolute, read_files
from meritorder.jobs.spending import Budget, Tokens
from meritorder.records.job import JobRun
from meritorder.records.receipts import Receipt
from meritorder.units import SECONDS_PER_HOUR, utc

_WORKER_CPUS: Final = 0.1  # a worker waits for endpoints most of the time
_READER_CPUS: Final = 0.25
_TASKS_OF_WORKER: Final = 2  # so that calls of the next begin before the last of one ends
_ERROR: Final = re.compile(r"[\w.]*(Error|Exception)\b")
_PARTS_OF_WORKER: Final = 8
_READERS_OF_WORKER: Final = 2  # a reader reads faster than a worker asks, and the start of each takes a second
_BLOCK_BYTES: Final = 2**19  # small, since a worker reports once it has answered a block


@dataclass(slots=True)
class Sums:
    """Sums over the rows of a run, by the names of a worker's report, and when the first began and the last ended."""

    rows: int = 0
    failed: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    left: int = 0
    why: str = ""
    began_s: float = math.inf
    ended_s: float = 0.0
    call_s: float = 0.0

    def add(self, report: dict[str, list[Any]]) -> None:
        """Add a worker's report."""
        for name in ("rows", "failed", "left"):
            setattr(self, name, getattr(self, name) + sum(report[name]))
        self.tokens += Tokens(sum(report["input_tokens"]), sum(report["output_tokens"]))
        self.call_s += sum(report["call_s"])
        self.began_s = min(self.began_s, *report["began_s"])
        self.ended_s = max(self.ended_s, *report["ended_s"])
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
        run = Run(options, output, runs)
        with runs.recorded(run.record), connected(options.cluster):
            run.answer(progress)
        record = run.end()
        runs.write_receipt(run.receipt(record))
    return record


class Run:
    """A run of a job from its start to its end.

    Args:
        options: The job.
        output: The folder of its answers.
        runs: Its runs.
    """

    def __init__(self, options: JobOptions, output: OutputFolder, runs: Runs) -> None:
        self.started_s = time.time()
        self.sums = Sums()
        self.stored = output.remove_repeated()
        self._output, self._runs = output, runs
        self._earlier = runs.read()
        self._repeated, self._repeated_tokens = 0, self.stored.repeated_tokens
        self._before = output.totals()
        self._after: Totals | None = None
        self._deadline_s = options.asking.deadline_s
        self._options = replace(options, asking=replace(options.asking, deadline_s=self._end_s(options)))

    def answer(self, progress: Callable[[str], None], share: float = 1.0) -> None:
        """Answer the rows that have no answer yet, or a share of them, drawn at random."""
        try:
            for report in self._reports(share):
                self.sums.add(report)
                self._runs.check()
                progress(_progress(self.sums, time.time() - self.started_s))
        except RayError as error:
            raise ConfigError(f"the job stopped: {_reason(error)}", where="run", fix="run it again to go on") from error

    def count(self) -> int:
        """Return the number of rows of all files."""
        dataset, _ = self._read(1.0)
        return int(dataset.count())

    def end(self) -> JobRun:
        """Keep one answer of each id, and store the record of the run."""
        self.stored = self._output.remove_repeated()
        self._repeated = self.stored.repeated
        self._repeated_tokens += self.stored.repeated_tokens
        self._after = self._output.totals()
        record = self.record()
        self._runs.write(record)
        return record

    def receipt(self, record: JobRun) -> Receipt:
        """Return the receipt of the job after the run, whose record is given."""
        return to_receipt(self._options, [*self._earlier, record], self._after or self._before)

    def record(self) -> JobRun:
        """Return what the run has done so far."""
        options, sums, now_s = self._options, self.sums, time.time()
        cost_usd = job_cost_usd = None
        if options.usd_per_hour is not None:
            cost_usd = (now_s - self.started_s) / SECONDS_PER_HOUR * options.usd_per_hour
            job_cost_usd = cost_usd + self._earlier_usd
        elif any(options.asking.usd_per_token):
            cost_usd = options.asking.cost_usd(sums.tokens)
            stored = self._after.tokens if self._after else self._before.tokens + sums.tokens
            job_cost_usd = options.asking.cost_usd(self._job_tokens(stored))
        return JobRun(
            out=options.out,
            started=utc(self.started_s).isoformat(timespec="seconds"),
            ended=utc(now_s).isoformat(timespec="seconds"),
            deadline=None if self._deadline_s is None else utc(self._deadline_s).isoformat(timespec="seconds"),
            answered=sums.rows,
            failed=sums.failed,
            left=sums.left,
            why_left=sums.why,
            rows=self.stored.hashes.size,
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

    def _job_tokens(self, stored: Tokens) -> Tokens:
        """Return the tokens of answers that the job has stored, of those that were removed too."""
        removed = [Tokens(run.repeated_input_tokens, run.repeated_output_tokens) for run in self._earlier]
        return sum(removed, stored + self._repeated_tokens)

    def _end_s(self, options: JobOptions) -> float | None:
        """Return when the run has to end: at its deadline, or when its machines have cost the budget."""
        ends_s = [options.asking.deadline_s]
        if options.budget_usd is not None and options.usd_per_hour:
            left_usd = options.budget_usd - self._earlier_usd
            ends_s.append(self.started_s + left_usd / options.usd_per_hour * SECONDS_PER_HOUR)
        return min((end_s for end_s in ends_s if end_s is not None), default=None)

    def _read(self, share: float) -> tuple[ray.data.Dataset, bool]:
        """Return the rows as a dataset, or a share of them, and whether they are prompts."""
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = _BLOCK_BYTES
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors reach us as exceptions
        paths = [absolute(path) for path in self._options.inputs]
        workers = self._options.workers
        return read_files(
            paths,
            tasks=_PARTS_OF_WORKER * workers,
            readers=_READERS_OF_WORKER * workers,
            num_cpus=_READER_CPUS,
            share=share,
            seed=len(self._earlier),
        )

    def _reports(self, share: float) -> Iterator[dict[str, list[Any]]]:
        """Yield the reports of workers, as they answer rows."""
        options = self._options
        dataset, are_prompts = self._read(share)
        reports = dataset.map_batches(
            RowAnswerer,
            fn_constructor_kwargs={
                "rules": RowRules(id_column=options.id_column, are_prompts=are_prompts, prompts=options.prompts),
                "options": options.asking,
                "folder": absolute(options.out),
                "answered": self.stored,
                "lease": self._lease(),
            },
            batch_size=options.rows_per_file,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                max_size=options.workers,
                initial_size=options.workers,
                max_concurrent_calls_per_actor=_TASKS_OF_WORKER,
            ),
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
        return _Lease(
            budget.remote(options.budget_usd - options.asking.cost_usd(self._job_tokens(self._before.tokens)))
        )


def _reason(error: RayError) -> str:
    """Return the line of an error of Ray, which has a traceback and advice, that names what is wrong."""
    lines = str(error).strip().splitlines()
    return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1])


def _progress(sums: Sums, elapsed_s: float) -> str:
    failed = f", {sums.failed:,} with an error" if sums.failed else ""
    return f"{sums.rows:,} rows answered{failed}, {sums.rows / elapsed_s:,.0f} a second"
