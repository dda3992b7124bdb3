"""The record of a run of a job."""

from typing import Final

import msgspec

JOB_SCHEMA: Final = "meritorder.job/1"


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
    schema: str = JOB_SCHEMA
