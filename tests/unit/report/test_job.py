"""What a run of a job says in the end."""

import msgspec

from meritorder.records.job import JobRun
from meritorder.report.job import sentences


def job_run(**fields: object) -> JobRun:
    run = JobRun(
        out="answers",
        started="2026-11-30T10:00:00+00:00",
        ended="2026-11-30T11:00:00+00:00",
        deadline=None,
        answered=1200,
        failed=0,
        left=0,
        why_left="",
        rows=1500,
        repeated=0,
        input_tokens=36_000,
        output_tokens=12_000,
        cost_usd=None,
    )
    return msgspec.structs.replace(run, **fields)


def test_finished_job_says_what_it_did() -> None:
    assert sentences(job_run(cost_usd=2.5)) == [
        "1,200 rows answered: 36,000 input and 12,000 output tokens, $2.50. answers has 1,500 rows with an answer."
    ]


def test_what_is_left_comes_with_its_reason() -> None:
    said = sentences(job_run(failed=1, repeated=2, left=7, why_left="the budget is spent"))
    assert [text.partition(" ")[0] for text in said] == ["1,200", "1", "2", "7"]
    assert "since the budget is spent" in said[-1]
