"""The records of a run of a job, and of what a job would cost and when it would end."""

from typing import Final

import msgspec

JOB_SCHEMA: Final = "meritorder.job/1"
JOB_QUOTE_SCHEMA: Final = "meritorder.job_quote/1"


class JobRun(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of a job did, and what its folder of answers holds now.

    Args:
        out: Folder of the answers.
        started: When the run began, ISO 8601.
        ended: When it ended, ISO 8601.
        deadline: When it had to end, ISO 8601; null without a deadline.
        answered: Rows that it answered, those with an error included.
        failed: Rows among them that have an error.
        left: Rows that have no answer yet; the next run asks them.
        why_left: Why; empty if there are none.
        rows: Rows with an answer in the folder, of all runs.
        repeated: Rows whose id another row has too; the folder has one answer for each id.
        input_tokens: Input tokens of the run.
        output_tokens: Output tokens of the run.
        cost_usd: What the run cost; null without a price.
        job_cost_usd: What all runs have cost together; null without a price.
        repeated_input_tokens: Input tokens of answers that the run removed, since their ids had others.
        repeated_output_tokens: Output tokens of these.
    """

    out: str
    started: str
    ended: str
    deadline: str | None
    answered: int
    failed: int
    left: int
    why_left: str
    rows: int
    repeated: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    job_cost_usd: float | None = None
    repeated_input_tokens: int = 0
    repeated_output_tokens: int = 0
    schema: str = JOB_SCHEMA


class JobQuote(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows that are left would cost, and when they would be answered, as measured on a sample of them.

    Args:
        out: Folder of the answers; those of the sample are in it.
        quoted: When this was stated, ISO 8601.
        sampled: Rows that were asked.
        failed: Rows among them that have an error.
        left: Rows that have no answer yet.
        rows_per_s: Rows a second, from the least, over the whole sample, to the most, with all calls in flight.
        ends: When the job would end if it began now, at the most and at the least rows a second, ISO 8601.
        input_tokens: Input tokens that are expected.
        output_tokens: Output tokens that are expected.
        cost_usd: What the rows that are left would cost, from the least to the most; null without a price.
        spent_usd: What the job has cost so far; null without a price.
        deadline: When it has to end, ISO 8601; null without a deadline.
        deadline_holds: Whether it would end by then; null without a deadline.
        budget_usd: What it may cost; null without a budget.
        budget_holds: Whether it would cost no more; null without a budget.
    """

    out: str
    quoted: str
    sampled: int
    failed: int
    left: int
    rows_per_s: tuple[float, float]
    ends: tuple[str, str]
    input_tokens: int
    output_tokens: int
    cost_usd: tuple[float, float] | None
    spent_usd: float | None
    deadline: str | None
    deadline_holds: bool | None
    budget_usd: float | None
    budget_holds: bool | None
    schema: str = JOB_QUOTE_SCHEMA
