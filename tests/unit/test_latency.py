"""TPOT, the SLO and quantiles, on requests worked out by hand."""

import math

import numpy as np
import pytest

from meritorder.latency import breaks_slo, quantile, tpot_s


def test_tpot_leaves_out_the_first_token() -> None:
    assert tpot_s(2.5, 0.5, 5) == pytest.approx(0.5), "four tokens in two seconds"


def test_tpot_undefined_at_one_token() -> None:
    assert math.isnan(tpot_s(0.5, 0.5, 1))


def test_tpot_of_columns_from_any_origin() -> None:
    tokens = np.array([1, 2, 11], np.int32)
    arrived_s, ttft_s, e2e_s = np.array([0.0, 10.0, 20.0]), np.array([1.0, 1.0, 1.0]), np.array([1.0, 3.0, 6.0])
    assert tpot_s(e2e_s, ttft_s, tokens) == pytest.approx([math.nan, 2.0, 0.5], nan_ok=True)
    assert tpot_s(arrived_s + e2e_s, arrived_s + ttft_s, tokens) == pytest.approx([math.nan, 2.0, 0.5], nan_ok=True)


def test_either_limit_or_silence_breaks_slo() -> None:
    ttft_s = np.array([1.0, 1.1, 1.0, 1.0, math.nan])
    pace_s = np.array([0.1, 0.1, 0.2, math.nan, math.nan])
    broken = breaks_slo(ttft_s, pace_s, np.full(5, 1.0), np.full(5, 0.1))
    assert broken.tolist() == [False, True, True, False, True]


def test_quantile_of_nothing_is_none() -> None:
    assert quantile(np.array([np.nan]), 0.5) is None
    assert quantile(np.array([1.0, np.nan, 3.0]), 0.5) == 2.0
