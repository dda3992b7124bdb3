"""A run of a job, in sentences."""

from meritorder.records.job import JobRun
from meritorder.units import format_usd


def sentences(run: JobRun) -> list[str]:
    """Return what a run did, what it cost, and what is left to do."""
    tokens = f"{run.input_tokens:,} input and {run.output_tokens:,} output tokens"
    cost = "" if run.cost_usd is None else f", {format_usd(run.cost_usd)}"
    if run.job_cost_usd is not None and run.job_cost_usd > (run.cost_usd or 0.0):
        cost += f" ({format_usd(run.job_cost_usd)} with earlier runs)"
    said = [f"{_rows(run.answered)} answered: {tokens}{cost}. {run.out} has {_rows(run.rows)} with an answer."]
    if run.failed:
        said.append(f"{_rows(run.failed)} could not be answered; column `error` says why.")
    if run.repeated:
        said.append(f"{_rows(run.repeated)} had an id that another row has; one answer of each id is kept.")
    if run.left:
        said.append(f"{_rows(run.left)} left, since {run.why_left}. Run the same command again to go on.")
    return said


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
