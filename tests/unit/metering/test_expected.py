"""What jobs are expected to cost, on machines at a dollar a second."""

import numpy as np
import pytest

from meritorder.metering.expected import Attempts, PastJob, TokenRates, expected_output_tokens, token_rates
from meritorder.records.accounting import OUTPUT_WEIGHT

USD_A_SECOND = 3600 * 10**12


def _attempts(*rows: tuple[float, float, int, int], replica: str = "a", own: bool = True) -> Attempts:
    """Return attempts from start and end in seconds, input and output tokens."""
    table = np.array(rows, dtype=np.float64)
    return Attempts(
        replica=np.array([replica] * len(rows)),
        starts_us=(table[:, 0] * 1e6).astype(np.int64),
        ends_us=(table[:, 1] * 1e6).astype(np.int64),
        input_tokens=table[:, 2].astype(np.int64),
        output_tokens=table[:, 3].astype(np.int64),
        own=np.full(len(rows), own),
    )


def _joined(*parts: Attempts) -> Attempts:
    return Attempts(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Attempts.__dataclass_fields__}
    )


def _spent(rates: TokenRates | None, attempts: Attempts) -> float:
    assert rates is not None
    own = attempts.own
    return rates.picousd(int(attempts.input_tokens[own].sum()), int(attempts.output_tokens[own].sum())) / 1e12


def test_rates_of_each_kind_of_token() -> None:
    """One after another on an engine that takes 1 ms for a prompt token and 20 ms for one of the answer."""
    draw, rows, at_s = np.random.default_rng(0), [], 0.0
    for _ in range(100):
        inputs, outputs = int(draw.integers(1, 1000)), int(draw.integers(1, 50))
        rows.append((at_s, at_s + 0.001 * inputs + 0.02 * outputs, inputs, outputs))
        at_s = rows[-1][1] + draw.uniform(0, 5)  # idle time is no cost of tokens
    rates = token_rates(_attempts(*rows), USD_A_SECOND)
    assert rates is not None
    assert rates.input_picousd / 1e12 == pytest.approx(0.001, rel=1e-3)
    assert rates.output_picousd / 1e12 == pytest.approx(0.02, rel=1e-3)


def test_all_tokens_cost_the_busy_time() -> None:
    """Two replicas are busy for 100 s and 30 s, whichever attempts overlap, also those that gave no answer."""
    draw = np.random.default_rng(1)
    starts = np.concatenate([[0.0], draw.uniform(0, 90, 48)])
    first = _attempts(
        (0, 100, 5, 5), *((start, start + draw.uniform(0, 10), int(draw.integers(100)), 7) for start in starts)
    )
    second = _attempts((1000, 1030, 50, 0), (1005, 1010, 0, 0), replica="b")
    both = _joined(first, second)
    assert _spent(token_rates(both, USD_A_SECOND), both) == pytest.approx(130)


def test_other_models_pay_their_share() -> None:
    """Both run for 10 s at one time: half of the machine is what the tokens of one have cost."""
    both = _joined(_attempts((0, 10, 100, 0)), _attempts((0, 10, 3, 99), own=False))
    rates = token_rates(both, USD_A_SECOND)
    assert _spent(rates, both) == pytest.approx(5)


def test_few_attempts_have_the_usual_weights() -> None:
    rates = token_rates(_attempts((0, 1, 100, 10)), USD_A_SECOND)
    assert rates is not None
    assert rates.output_picousd / rates.input_picousd == pytest.approx(OUTPUT_WEIGHT)


def test_no_rate_is_negative() -> None:
    """Longer prompts end sooner here, so that least squares would pay for them."""
    rows = [(10.0 * number, 10.0 * number + 5 - 0.01 * number, 10 * number, 50) for number in range(40)]
    rates = token_rates(_attempts(*rows), USD_A_SECOND)
    assert rates is not None
    assert (rates.input_picousd, rates.output_picousd > 0) == (0, True)


@pytest.mark.parametrize("rows", [[(0, 0, 5, 5)], [(0, 9, 0, 0)]])
def test_nothing_was_measured(rows: list[tuple[float, float, int, int]]) -> None:
    assert token_rates(_attempts(*rows), USD_A_SECOND) is None


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
