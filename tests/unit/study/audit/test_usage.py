"""How much of the paid machine hours was used."""

import datetime as dt
import json
from itertools import chain
from pathlib import Path

import polars as pl
import pytest
from tests.samples.charges import START, endpoint, machine, tokens, traffic
from tests.unit.study.audit.conftest import DAY, MONTH, WEEKS, Audited, kinds, only

from meritorder.errors import BillError
from meritorder.study.audit.context import AuditOptions


def test_shape_of_tokens_bounds_constant_fleet(audited: Audited) -> None:
    def hour_of(hour: int) -> float:
        return 100.0 if hour % 24 in {9, 10, 11} else 10.0

    load = [row for hour in MONTH for row in tokens([hour], usd=hour_of(hour), thousands=1000)]
    fleet = list(machine(MONTH, instance="g5.2xlarge", usd=1.212, count=10))
    answer = audited(chain(load, fleet))
    found = only(answer, "over_provisioned")
    # A tenth of the peak at four fifths of what they can do: two of the ten.
    assert found.usd == pytest.approx(WEEKS * 21 / 24 * 8 * 1.212)
    assert found.confidence == "low"
    assert "real-time tokens" in found.evidence
    assert any(missing.option.startswith("--trace") for missing in answer.missing_inputs)
    scaling = machine([hour for hour in MONTH if hour_of(hour) > 50], instance="g5.2xlarge", usd=1.212, name="i-2")
    assert "over_provisioned" not in kinds(audited(chain(load, fleet, scaling)))
    assert "over_provisioned" not in kinds(audited(fleet)), "no load is known"


def test_endpoint_without_traffic_is_idle(audited: Audited) -> None:
    called = chain(endpoint(MONTH, name="arn:endpoint/chat"), traffic(MONTH, name="arn:endpoint/chat"))
    forgotten = chain(endpoint(MONTH, name="arn:endpoint/demo"), traffic(range(24), name="arn:endpoint/demo"))
    answer = audited(chain(called, forgotten, endpoint(MONTH, name="arn:endpoint/never")))
    found = only(answer, "idle_capacity")
    assert found.usd == pytest.approx((WEEKS - 24 + WEEKS) * 1.5)
    assert "demo, never" in found.title
    alone = audited(endpoint(MONTH, name="arn:endpoint/never"))
    assert "idle_capacity" not in kinds(alone), "a bill without lines of data tells nothing of who is called"


def test_metrics_show_idle_machines(audited: Audited, tmp_path: Path) -> None:
    samples = [
        {"time": (START + dt.timedelta(hours=hour, minutes=minute)).isoformat(), "machine": name, "gpu_util": used}
        for hour in range(DAY)
        for minute in (0, 30)
        for name, used in (("i-1", 80.0 if hour < 12 else 0.0), ("i-2", 0.0), ("i-3", 10.0), ("i-4", 10.0))
    ]
    path = tmp_path / "gpu.csv"
    pl.DataFrame(samples).write_csv(path)
    rows = chain(*(machine(range(DAY), instance="g5.2xlarge", usd=1.0, name=f"i-{i}") for i in range(1, 5)))
    answer = audited(rows, AuditOptions(metrics=path))
    assert only(answer, "idle_capacity").usd == pytest.approx(12 * 1 + 12 * 2)
    # Day: three run, and do one machine's work, which takes two. Night: two run, and do a fifth of one's.
    assert only(answer, "over_provisioned").usd == pytest.approx(12 * 1 + 12 * 1)
    assert only(answer, "idle_capacity").confidence == "high"
    assert not any("--metrics" in missing.option for missing in answer.missing_inputs)


def test_prometheus_range_query(audited: Audited, tmp_path: Path) -> None:
    values = [[START.timestamp() + 3600 * hour, "0" if hour % 2 else "90"] for hour in range(DAY)]
    series = {"metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", "Hostname": "gpu-1"}, "values": values}
    path = tmp_path / "range.json"
    path.write_text(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [series]}}))
    answer = audited(machine(range(DAY), instance="g5.2xlarge", usd=1.0), AuditOptions(metrics=path))
    assert only(answer, "idle_capacity").usd == pytest.approx(12)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n", "no column of time"),
        ("time,machine\n2026-10-05,x\n", "no column of utilization"),
        ("time,utilization\nnever,0.5\n", "no sample has both"),
        ("time,utilization\n2026-10-05T00:00:00Z,250\n", "over 100 %"),
        ("time,utilization\n2026-10-05T00:00:00Z,-1\n", "below 0"),
        ('{"data": 3}', "not the answer of a Prometheus"),
        ('{"data": {"result": []}}', "no series"),
        ("time,utilization\n2025-01-01T00:00:00Z,0.5\n", "other hours"),
    ],
)
def test_bad_metrics_are_refused(audited: Audited, tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "metrics"
    path.write_text(content)
    with pytest.raises(BillError, match=said):
        audited(machine(range(DAY)), AuditOptions(metrics=path))
