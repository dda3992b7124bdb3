"""A run of a job, and what a job would cost, in sentences."""

import datetime as dt
import math

from meritorder.records.job import JobQuote, JobRun
from meritorder.units import format_usd


def sentences(answer: JobRun | JobQuote) -> list[str]:
    """Return what a run did, what it cost, and what is left to do; or what the rows that are left would cost."""
    return _of_run(answer) if isinstance(answer, JobRun) else _of_quote(answer)


def is_well(answer: JobRun | JobQuote) -> bool:
    """Tell whether all rows of a run have an answer, or a deadline and a budget would hold."""
    if isinstance(answer, JobRun):
        return not (answer.failed or answer.left)
    return answer.deadline_holds is not False and answer.budget_holds is not False


def _of_run(run: JobRun) -> list[str]:
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


def _of_quote(quote: JobQuote) -> list[str]:
    slowest, fastest = (f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}" for rate in quote.rows_per_s)
    tokens = f"about {quote.input_tokens:,} input and {quote.output_tokens:,} output tokens{_range(quote)}"
    done = f"done between {_time(quote.ends[0])} and {_time(quote.ends[1])}"
    said = [f"{_rows(quote.sampled)} answered as a sample, {slowest} to {fastest} a second."]
    said.append(f"{_rows(quote.left)} left: {tokens}, {done}.")
    if quote.failed:
        said.append(f"{_rows(quote.failed)} of the sample could not be answered; column `error` says why.")
    if quote.deadline_holds is False and quote.deadline is not None:
        said.append(f"The deadline, {_time(quote.deadline)}, does not hold: {_remedy(quote)}.")
    if quote.budget_holds is False and quote.budget_usd is not None:
        spent = f", of which {format_usd(quote.spent_usd)} is spent" if quote.spent_usd else ""
        said.append(f"The budget of {format_usd(quote.budget_usd)}{spent} does not suffice.")
    return said


def _range(quote: JobQuote) -> str:
    if quote.cost_usd is None:
        return ""
    least, most = map(format_usd, quote.cost_usd)
    return f", {least}" if least == most else f", {least} to {most}"


def _remedy(quote: JobQuote) -> str:
    """Return how much more the endpoints would have to do, from now on."""
    now_s, end_s, deadline_s = map(_epoch_s, (quote.quoted, quote.ends[1], quote.deadline or quote.quoted))
    if deadline_s <= now_s:
        return "it is over"
    times = math.ceil((end_s - now_s) / (deadline_s - now_s) * 10) / 10
    return f"it takes {max(times, 1.1):,} times as many endpoints, or as much of each"


def _epoch_s(time: str) -> float:
    return dt.datetime.fromisoformat(time).timestamp()


def _time(time: str) -> str:
    return f"{dt.datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S} UTC"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
