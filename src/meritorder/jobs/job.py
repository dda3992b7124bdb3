"""A job: rows of files, answered by endpoints through Ray Data. Its folder of answers says what is done."""

import datetime as dt
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from ray.exceptions import RayError

from meritorder.errors import ConfigError
from meritorder.inputs.prompts import PromptRules
from meritorder.jobs.asking import AskingOptions, RowAnswerer
from meritorder.jobs.cluster import connected
from meritorder.jobs.output import OutputFolder
from meritorder.jobs.rows import RowRules, read_files
from meritorder.jobs.spending import Budget
from meritorder.records.job import JobRun
from meritorder.units import SECONDS_PER_HOUR

_WORKER_CPUS: Final = 0.5  # a worker waits for endpoints most of the time


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
        budget_usd: What all runs together may spend on tokens, or this run on machines; None without a budget.
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
    input_tokens: int = 0
    output_tokens: int = 0
    left: int = 0
    why: str = ""

    def add(self, report: dict[str, list[Any]]) -> None:
        for name in ("rows", "failed", "input_tokens", "output_tokens", "left"):
            setattr(self, name, getattr(self, name) + sum(report[name]))
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
        ConfigError: Files cannot be read or written, or no cluster responds.
    """
    started_s = time.time()
    output = OutputFolder(options.out)
    answered, _ = output.remove_repeated()
    sums = _Sums()
    asking, end_s = options.asking, options.asking.deadline_s
    if options.budget_usd is not None and options.usd_per_hour:
        budget_end_s = started_s + options.budget_usd / options.usd_per_hour * SECONDS_PER_HOUR
        asking = replace(asking, deadline_s=min(budget_end_s, end_s or budget_end_s))
    with connected(options.cluster):
        try:
            for report in _reports(replace(options, asking=asking), answered, output):
                sums.add(report)
                progress(_progress(sums, time.time() - started_s))
        except RayError as error:
            what = str(error).strip().splitlines()[-1]
            raise ConfigError(f"the job stopped: {what}", where="run", fix="run it again to go on") from error
    stored, repeated = output.remove_repeated()
    ended_s = time.time()
    cost_usd: float | None = asking.cost_usd(sums.input_tokens, sums.output_tokens)
    if options.usd_per_hour is not None:
        cost_usd = (ended_s - started_s) / SECONDS_PER_HOUR * options.usd_per_hour
    return JobRun(
        out=options.out,
        started=_iso(started_s),
        ended=_iso(ended_s),
        deadline=None if end_s is None else _iso(end_s),
        answered=sums.rows,
        failed=sums.failed,
        left=sums.left,
        why_left=sums.why,
        rows=stored.size,
        repeated=repeated,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cost_usd=cost_usd if options.usd_per_hour is not None or any(asking.usd_per_token) else None,
    )


def _reports(options: JobOptions, answered: NDArray[np.uint64], output: OutputFolder) -> Iterator[dict[str, list[Any]]]:
    """Yield the reports of workers, as they answer rows."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset, are_prompts = read_files(options.inputs)
    lease = None
    if options.budget_usd is not None and options.usd_per_hour is None:
        left_usd = options.budget_usd - options.asking.cost_usd(*output.tokens())
        lease = _Lease(ray.remote(Budget).remote(left_usd))
    reports = dataset.map_batches(
        RowAnswerer,
        fn_constructor_kwargs={
            "rules": RowRules(id_column=options.id_column, are_prompts=are_prompts, prompts=options.prompts),
            "options": options.asking,
            "folder": options.out,
            "answered": answered,
            "lease": lease,
        },
        batch_size=options.rows_per_file,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=options.workers),
        num_cpus=_WORKER_CPUS,
    )
    for report in reports.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield cast("pa.Table", report).to_pydict()


def _progress(sums: _Sums, elapsed_s: float) -> str:
    failed = f", {sums.failed:,} with an error" if sums.failed else ""
    return f"{sums.rows:,} rows answered{failed}, {sums.rows / elapsed_s:,.0f} a second"


def _iso(time_s: float) -> str:
    return dt.datetime.fromtimestamp(time_s, dt.UTC).isoformat(timespec="seconds")
