"""What jobs are expected to cost, on machines at a dollar a second."""

import numpy as np
import pytest

from meritorder.metering.expected import Attempts, PastJob, expected_output_tokens, picousd_per_token
from meritorder.metering.sharing import Ran

USD_A_SECOND = 3600 * 10**12


def _attempts(*rows: tuple[float, float, float], replica: str = "a", kind: int = 0, own: bool = True) -> Attempts:
    """Return attempts from start and end in seconds, and the tokens of their work."""
    table = np.array(rows, dtype=np.float64)
    starts_us, ends_us = (table[:, :2] * 1e6).astype(np.int64).T
    return Attempts(
        replica=np.array([replica] * len(rows)),
        ran=Ran.of(starts_us, ends_us, np.full(len(rows), kind), table[:, 2], repeated=np.zeros(len(rows), dtype=bool)),
        work_tokens=table[:, 2],
        own=np.full(len(rows), own),
    )


def _joined(*parts: Attempts) -> Attempts:
    times = [np.concatenate([getattr(part.ran, name) for part in parts]) for name in ("starts_us", "ends_us")]
    kinds = [np.concatenate([getattr(part.ran, name) for part in parts]) for name in ("kind", "pace")]
    replica, work_tokens, own = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("replica", "work_tokens", "own")
    )
    return Attempts(replica=replica, ran=Ran(*times, *kinds), work_tokens=work_tokens, own=own)


def _usd_per_token(attempts: Attempts) -> float:
    picousd = picousd_per_token(attempts, USD_A_SECOND)
    assert picousd is not None
    return picousd / 1e12


def test_tokens_cost_the_busy_time() -> None:
    """Two replicas are busy for 100 s and 30 s, whichever attempts overlap, also those that gave no answer."""
    draw = np.random.default_rng(1)
    starts = np.concatenate([[0.0], draw.uniform(0, 90, 48)])
    first = _attempts(
        (0, 100, 25), *((start, start + draw.uniform(0, 10), int(draw.integers(100))) for start in starts)
    )
    second = _attempts((1000, 1030, 50), (1005, 1010, 0), replica="b")
    both = _joined(first, second)
    assert _usd_per_token(both) * both.work_tokens.sum() == pytest.approx(130)


def test_other_kinds_pay_their_share() -> None:
    """Both run for 10 s at one time: half of the machine is what the tokens of one have cost."""
    both = _joined(_attempts((0, 10, 100)), _attempts((0, 10, 399), kind=1, own=False))
    assert _usd_per_token(both) == pytest.approx(0.05)


@pytest.mark.parametrize("rows", [[(0, 0, 25)], [(0, 9, 0)]])
def test_nothing_was_measured(rows: list[tuple[float, float, float]]) -> None:
    assert picousd_per_token(_attempts(*rows), USD_A_SECOND) is None


def _job(requests: int, limit_tokens: int, output_tokens: int) -> PastJob:
    return PastJob(
        file_bytes=1, requests=requests, limit_tokens=limit_tokens, input_tokens=1, output_tokens=output_tokens
    )


def test_answers_are_as_long_as_the_rule_that_erred_less() -> None:
    """Answers of ten tokens, whatever the limit; then answers that fill half of it; then without limits known."""
    alike = [_job(10, 500, 100), _job(5, 1000, 50)]
    assert expected_output_tokens(alike, 3, 900) == pytest.approx(30)
    half = [_job(10, 500, 250), _job(5, 1000, 500)]
    assert expected_output_tokens(half, 3, 900) == pytest.approx(450)
    unknown = [_job(10, 500, 250), _job(5, 0, 500)]
    assert expected_output_tokens(unknown, 3, 900) == pytest.approx(150)


def test_answers_end_at_their_limits() -> None:
    assert expected_output_tokens([_job(1, 0, 100)], 10, 50) == 50
