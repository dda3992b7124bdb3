"""Requests from a few numbers: their mean rate, peak and lengths are the stated ones."""

import numpy as np
import pytest

from meritorder.errors import TraceError
from meritorder.tables import REQUESTS, check
from meritorder.traces.generated.sample import write_trace
from meritorder.traces.generated.synthetic import Traffic, generate, hourly_rates
from meritorder.traces.statistics import describe

BUSY = Traffic(requests_per_day=60_000, input_tokens=1200, output_tokens=300, cached_share=0.25)


def test_trace_has_the_stated_numbers() -> None:
    trace = generate(BUSY)
    requests = check(trace.requests, REQUESTS, what="synthetic")
    assert requests.height / trace.span_s * 86_400 == pytest.approx(60_000)
    assert requests["input_tokens"].mean() == pytest.approx(1200, rel=1e-3)
    assert requests["output_tokens"].mean() == pytest.approx(300, rel=1e-2)
    assert requests["cached_tokens"].sum() / requests["input_tokens"].sum() == pytest.approx(0.25, rel=1e-2)
    # 7,500 requests in the busiest hour: their standard deviation is 1.2 %.
    assert describe(trace).peak_to_mean_hour == pytest.approx(3, rel=0.04)


@pytest.mark.parametrize(("requests_per_day", "days"), [(1, 30), (10, 30), (500, 4), (50_000, 1)])
def test_few_requests_span_more_days(requests_per_day: float, days: int) -> None:
    trace = generate(Traffic(requests_per_day=requests_per_day, input_tokens=10, output_tokens=10))
    assert trace.span_s == pytest.approx(days * 86_400)
    assert trace.requests.height == requests_per_day * days


@pytest.mark.parametrize("peak", [1.0, 1.5, 3.0, 20.0])
def test_busiest_hour_has_the_ratio(peak: float) -> None:
    rates = hourly_rates(peak)
    assert rates.mean() == pytest.approx(1)
    assert (rates.max(), int(rates.argmax())) == (pytest.approx(peak), 14) or peak == 1


def test_equal_seeds_give_equal_traces() -> None:
    assert generate(BUSY, seed=3).requests.equals(generate(BUSY, seed=3).requests)
    assert not generate(BUSY, seed=3).requests.equals(generate(BUSY, seed=4).requests)


def test_no_variation_means_equal_lengths() -> None:
    trace = generate(Traffic(requests_per_day=100, input_tokens=50, output_tokens=20, variation=0))
    assert np.unique(trace.requests["input_tokens"].to_numpy()).tolist() == [50]


@pytest.mark.parametrize(
    ("option", "value"),
    [("requests_per_day", 0.5), ("input_tokens", 0), ("peak_to_mean", 0.5), ("output_tokens", float("nan"))],
)
def test_impossible_numbers_are_refused(option: str, value: float) -> None:
    numbers = {"requests_per_day": 10.0, "input_tokens": 10.0, "output_tokens": 10.0, option: value}
    with pytest.raises(TraceError, match="out of range; give"):
        Traffic(**numbers)


def test_unknown_suffix_is_refused(tmp_path: object) -> None:
    with pytest.raises(TraceError, match=r"written as \.csv or \.parquet"):
        write_trace(generate(BUSY), f"{tmp_path}/day.json")
