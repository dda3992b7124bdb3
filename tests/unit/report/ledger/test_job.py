"""What a run of a job says in the end, and what is said before: what it would cost and take."""

import msgspec
import pytest

from meritorder.records.job import JobQuote, JobRun
from meritorder.report.ledger.job import is_well, sentences

QUOTE = JobQuote(
    out="answers",
    quoted="2026-01-01T00:00:00+00:00",
    sampled=400,
    failed=0,
    left=36_000,
    rows_per_s=(10.0, 12.0),
    ends=("2026-01-01T00:50:00+00:00", "2026-01-01T01:00:00+00:00"),
    input_tokens=360_000,
    output_tokens=72_000,
    cost_usd=(9.0, 10.0),
    spent_usd=1.0,
    deadline="2026-01-01T02:00:00+00:00",
    deadline_holds=True,
    budget_usd=12.0,
    budget_holds=True,
)


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


def test_cost_of_earlier_runs_is_stated() -> None:
    assert "$2.50 ($4.00 with earlier runs)" in sentences(job_run(cost_usd=2.5, job_cost_usd=4.0))[0]
    assert "earlier" not in sentences(job_run(cost_usd=2.5, job_cost_usd=2.5))[0]


def test_quote_states_cost_and_end() -> None:
    text = " ".join(sentences(QUOTE))
    assert "400 rows answered as a sample, 10 to 12 a second." in text
    assert "36,000 rows left: about 360,000 input and 72,000 output tokens, $9.00 to $10.00" in text
    assert "between 2026-01-01 00:50:00 UTC and 2026-01-01 01:00:00 UTC" in text
    assert is_well(QUOTE)


def test_missed_deadline_states_what_it_takes() -> None:
    # An hour of work in 24 minutes: 2.5 times as much.
    quote = msgspec.structs.replace(QUOTE, deadline="2026-01-01T00:24:00+00:00", deadline_holds=False)
    assert "it takes 2.5 times as many endpoints" in sentences(quote)[-1]
    assert not is_well(quote)


@pytest.mark.parametrize(("spent_usd", "spent"), [(None, ""), (3.0, ", of which $3.00 is spent")])
def test_small_budget_is_stated(spent_usd: float | None, spent: str) -> None:
    quote = msgspec.structs.replace(QUOTE, spent_usd=spent_usd, budget_holds=False)
    assert sentences(quote)[-1] == f"The budget of $12.00{spent} does not suffice."
    assert not is_well(quote)
