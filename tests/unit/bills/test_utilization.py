"""Utilization metrics from CSV and from Prometheus."""

import gzip
import json
from pathlib import Path

import pytest

from meritorder.bills.utilization import read_utilization
from meritorder.errors import BillError


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_percentages_become_shares(tmp_path: Path) -> None:
    text = "Time,Instance ID,GPU Util\n2026-10-05T00:00:00Z,a,50\n2026-10-05T01:00:00Z,b,25 %\n"
    metrics = read_utilization(written(tmp_path / "m.csv", text))
    assert metrics.samples["utilization"].to_list() == [0.5, 0.25]
    assert metrics.samples["machine"].to_list() == ["a", "b"]
    assert (metrics.machines, metrics.name, metrics.percent) == (2, "GPU Util", True)


def test_shares_stay_shares(tmp_path: Path) -> None:
    metrics = read_utilization(written(tmp_path / "m.csv", "time,value\n2026-10-05,1.0\n2026-10-06,0.5\n"))
    assert metrics.samples["utilization"].to_list() == [1.0, 0.5]
    assert (metrics.machines, metrics.percent) == (1, False)
    assert metrics.samples["machine"].to_list() == ["", ""]


def test_dcgm_is_always_in_percent(tmp_path: Path) -> None:
    metrics = read_utilization(written(tmp_path / "m.csv", "time,DCGM_FI_DEV_GPU_UTIL\n2026-10-05,1\n"))
    assert metrics.samples["utilization"].to_list() == [0.01]


def test_samples_without_value_are_left_out(tmp_path: Path) -> None:
    text = "time,value\n2026-10-05,0.5\n2026-10-06,nan\n2026-10-07,\nnever,0.1\n"
    assert read_utilization(written(tmp_path / "m.csv", text)).samples.height == 1


def test_prometheus_series_are_machines(tmp_path: Path) -> None:
    series = [
        {"metric": {"__name__": "gpu", "Hostname": "h1", "gpu": str(gpu)}, "values": [[0, "0.5"], [300.5, "0.7"]]}
        for gpu in range(2)
    ]
    path = tmp_path / "range.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"data": {"result": series}}).encode()))
    metrics = read_utilization(path)
    assert metrics.machines == 2
    assert set(metrics.samples["machine"]) == {"h1/0", "h1/1"}
    assert metrics.samples["time"].dt.timestamp("ms").to_list() == [0, 300_500] * 2
    assert metrics.name == "gpu"


def test_instant_query_has_one_value(tmp_path: Path) -> None:
    path = written(tmp_path / "m.json", json.dumps([{"metric": {}, "value": [60, "0.25"]}]))
    assert read_utilization(path).samples["utilization"].to_list() == [0.25]


@pytest.mark.parametrize(("value", "refused"), [("100", False), ("100.5", True), ("-0.1", True), ("0", False)])
def test_utilization_is_within_bounds(tmp_path: Path, value: str, *, refused: bool) -> None:
    path = written(tmp_path / "m.csv", f"time,value\n2026-10-05,{value}\n")
    if refused:
        with pytest.raises(BillError, match="a utilization is"):
            read_utilization(path)
    else:
        assert read_utilization(path).samples.height == 1


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BillError, match="cannot be read"):
        read_utilization(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a readable CSV: empty"),
        ("{", "not the answer of a Prometheus range query"),
        ('{"x": 1}', "not the answer of a Prometheus range query"),
        ("[3]", "not the answer of a Prometheus range query"),
        ('[{"metric": 3, "value": [0, "1"]}]', "not the answer of a Prometheus range query"),
        ("a,b,c,d,e,f,g,time\n", "no column of utilization among a, b, c, d, e, f;"),
        ("value,machine\n", "no column of time among value, machine;"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BillError) as caught:
        read_utilization(written(tmp_path / "m", text))
    assert message in str(caught.value)


def test_first_series_names_the_metric(tmp_path: Path) -> None:
    """A metric in percent stays in percent, even where no sample exceeds 1 %."""
    series = [{"metric": {"__name__": name}, "value": [60, "1"]} for name in ("gpu_percent", "other", "third")]
    metrics = read_utilization(written(tmp_path / "m.json", json.dumps(series)))
    assert (metrics.name, metrics.percent) == ("gpu_percent", True)
    assert metrics.samples["utilization"].to_list() == [0.01] * 3
