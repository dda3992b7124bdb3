"""A sweep asks the same question at every combination, and answers in their order."""

import importlib.util

import polars as pl
import pytest

from meritorder.errors import ConfigError, MissingExtraError
from meritorder.report.compare import sweep as report
from meritorder.report.compare import sweep_html
from meritorder.study.compare import sweep as study
from meritorder.study.compare.compare import compare
from meritorder.study.fleet.options import CompareOptions
from meritorder.traces import Trace

MODEL = "llama-3.1-8b"


def test_axes_have_ranges_and_combinations() -> None:
    axes = study.parse_axes(["replicas=1..3", "share=0%, 40%"])
    assert [(axis.name, axis.values) for axis in axes] == [("replicas", ("1", "2", "3")), ("share", ("0%", "40%"))]
    assert len(study.points(axes)) == 6
    assert study.points(axes)[1] == {"replicas": "1", "share": "40%"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "each name must be given once"),
        (["color=red"], "cannot be varied"),
        (["share"], "cannot be varied"),
        (["share="], "'share=' has no values"),
        (["replicas=8..1"], "'replicas=8..1' has no values"),
        (["tp=1", "tp=2"], "each name must be given once"),
        (["replicas=1..9999", "tp=1,2"], "19,998 combinations; the limit is 10,000"),
    ],
)
def test_unknown_axis_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study.parse_axes(texts)


@pytest.mark.parametrize("point", [{"replicas": "0"}, {"tp": "two"}, {"startup": "soon"}, {"memory_utilization": "x"}])
def test_invalid_value_is_refused_first(point: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        study.apply(CompareOptions(), point)


def test_values_become_options() -> None:
    changed = study.apply(
        CompareOptions(defer=("10%@4h",)),
        {"share": "40%", "deadline": "1h", "startup": "10m", "ttft": "500ms", "max_num_seqs": "64", "tp": "2"},
    )
    assert changed.defer == ("40%@1h",)
    assert changed.startup.total_s == pytest.approx(600)
    assert changed.default_slo.ttft_s == 0.5
    assert changed.default_slo.tpot_s == CompareOptions().default_slo.tpot_s
    assert (changed.max_num_seqs, changed.tp) == (64, 2)
    memory = study.apply(CompareOptions(), {"memory_utilization": "0.95", "kv_cache_dtype": "fp8"})
    assert (memory.memory_utilization, memory.kv_cache_dtype) == (0.95, "fp8")
    assert study.apply(CompareOptions(defer=("40%@4h",)), {"share": "0%"}).defer == ()


def test_point_equals_its_comparison(small: Trace) -> None:
    options = CompareOptions(model=MODEL, tp=1)
    axes = study.parse_axes(["share=0%,40%"])
    table = study.sweep(small, options, axes, processes=1)
    expected = compare(small, study.apply(options, {"share": "40%"}))
    rows = table.filter(pl.col("share") == "40%")
    assert rows["arrangement"].to_list() == [arrangement.name for arrangement in expected.arrangements]
    assert rows["total_usd"].to_list() == pytest.approx(
        [arrangement.total_usd for arrangement in expected.arrangements]
    )
    assert table["share"].to_list() == sorted(table["share"].to_list())


def test_failed_point_keeps_the_others(small: Trace) -> None:
    table = study.sweep(small, CompareOptions(model=MODEL, tp=1), study.parse_axes(["ttft=2s,1ms"]), processes=1)
    failed = table.filter(pl.col("ttft") == "1ms")
    assert failed.height == 1
    assert "no replica can meet the SLO" in failed["error"][0]
    assert table.filter(pl.col("ttft") == "2s")["error"].to_list() == [""] * (table.height - 1)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_cluster_needs_ray(small: Trace) -> None:
    with pytest.raises(MissingExtraError, match="ray"):
        study.sweep(small, CompareOptions(model=MODEL), study.parse_axes(["tp=1"]), ray_address="auto")


def test_figure_needs_no_network(small: Trace) -> None:
    axes = study.parse_axes(["tp=1"])
    page = sweep_html.render(study.sweep(small, CompareOptions(model=MODEL), axes, processes=1), ["tp"])
    assert "<script src=" not in page
    assert "Cost against latency" in page
    assert pl.read_parquet(report.to_parquet(pl.DataFrame({"a": [1]}))).rows() == [(1,)]
