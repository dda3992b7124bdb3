"""The sample is the same for the same seed, and keeps what is published of the real week."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from meritorder.errors import TraceError
from meritorder.tables import REQUESTS, check
from meritorder.traces import statistics
from meritorder.traces.generated import sample
from meritorder.traces.read import read_trace
from meritorder.units import SECONDS_PER_DAY


def test_equal_seeds_give_equal_samples() -> None:
    assert sample.generate(1).requests.equals(sample.generate(1).requests)
    assert not sample.generate(1).requests.equals(sample.generate(2).requests)


def test_sample_is_a_trace() -> None:
    week = sample.generate()
    requests = check(week.requests, REQUESTS, what="sample")
    assert 60_000 <= requests.height <= 100_000
    assert requests["arrived_s"].is_sorted()
    assert requests["arrived_s"][0] == 0
    assert week.span_s == pytest.approx(7 * SECONDS_PER_DAY, rel=0.001)
    assert requests.select(
        ((pl.col("cached_tokens") >= 0) & (pl.col("cached_tokens") < pl.col("input_tokens"))).all()
    ).item()
    assert (requests["output_tokens"] >= 1).all()


def test_code_service_is_as_published() -> None:
    week = sample.generate()
    code = week.requests.filter(pl.col("tenant") == "code-assist")
    described = statistics.describe(replace(week, requests=code))
    assert described.peak_to_mean_hour == pytest.approx(2.98, rel=0.05)
    assert described.trough_to_mean_hour == pytest.approx(0.10, abs=0.03)
    days = code.group_by((pl.col("arrived_s") // SECONDS_PER_DAY).alias("day")).len().sort("day")["len"]
    assert days[5:].mean() / days.mean() == pytest.approx(0.40, abs=0.03)
    assert described.input_tokens.p50 == pytest.approx(1903, rel=0.03)
    assert described.input_tokens.p90 == pytest.approx(6186, rel=0.03)
    assert described.output_tokens.p50 == pytest.approx(13, abs=1)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_written_sample_reads_back(tmp_path: Path, suffix: str) -> None:
    week = sample.generate()
    read = read_trace([sample.write(tmp_path / f"week{suffix}")], strict=True)
    assert read.requests.drop("arrived_s").equals(week.requests.drop("arrived_s"))
    assert (read.requests["arrived_s"] - week.requests["arrived_s"]).abs().max() < 1e-5
    assert read.epoch_s == pytest.approx(week.epoch_s, abs=1e-5)


def test_sample_of_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"\.csv or \.parquet"):
        sample.write(tmp_path / "week.xlsx")
    with pytest.raises(TraceError, match="cannot be written"):
        sample.write(tmp_path / "none" / "week.csv")
