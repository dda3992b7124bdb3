import json

import numpy as np
import pytest
from bench.loop import Job, _errors, _lines


def test_errors_of_quotes() -> None:
    """Of ten jobs that were quoted a dollar each, nine cost 10 % more and one twice as much."""
    jobs = [Job(quoted_usd=1.0, paid_usd=1.1, in_time=True)] * 9 + [Job(quoted_usd=1.0, paid_usd=2.0, in_time=False)]
    errors = _errors(jobs)
    assert (errors["jobs"], errors["late"]) == (10, 1)
    assert errors["paid_against_quoted"] == pytest.approx(0.19)
    assert errors["median_error"] == pytest.approx(0.1)
    assert errors["within_15_percent"] == pytest.approx(0.9)


def test_jobs_are_small_and_differ() -> None:
    draw = np.random.default_rng(0)
    first, second = (list(map(json.loads, _lines(draw).splitlines())) for _ in range(2))
    assert first != second
    for lines in (first, second):
        assert 2 <= len(lines) <= 5
        assert len({line["custom_id"] for line in lines}) == len(lines)
