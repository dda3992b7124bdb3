"""Usage of machines that utilization metrics show."""

import datetime as dt
import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

import polars as pl
import pytest
from tests.samples import audits as samples
from tests.samples.charges import START, machine
from tests.unit.study.audit.conftest import DAY, Audited, only

from meritorder.bills.metrics.utilization import UtilizationMetrics
from meritorder.errors import BillError
from meritorder.study.audit.context import AuditOptions
from meritorder.study.audit.pools import BilledFleet, BilledPool
from meritorder.study.audit.usage import (
    usage_from_metrics,
)


def fleet_of(*pools: BilledPool) -> BilledFleet:
    fleet = samples.ledger(*pools).fleet
    assert fleet is not None
    return fleet


def utilization(frame: pl.DataFrame, **more: object) -> UtilizationMetrics:
    """Return samples of machines of one GPU each, of a metric whose meaning is known."""
    samples_ = frame.with_columns(gpu=pl.lit(""), busiest="utilization")
    plain = UtilizationMetrics(
        samples=samples_,
        machines=frame["machine"].n_unique(),
        gpus=0,
        name="gpu",
        percent=False,
        confidence="high",
        notes=(),
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def test_metrics_show_idle_machines(audited: Audited, tmp_path: Path) -> None:
    samples = [
        {"time": (START + dt.timedelta(hours=hour, minutes=minute)).isoformat(), "machine": name, "gpu_percent": used}
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
    ("content", "message"),
    [
        ("a,b\n1,2\n", "no column of time"),
        ("time,machine\n2026-10-05,x\n", "no column of utilization"),
        ("time,utilization\nnever,0.5\n", "no time in 'never'"),
        ("time,gpu_percent\n2026-10-05T00:00:00Z,250\n", "over 100 %"),
        ("time,utilization\n2026-10-05T00:00:00Z,-2\n", "below 0"),
        ('{"data": 3}', "not the answer of Prometheus"),
        ('{"data": {"result": []}}', "no series"),
        ("time,utilization\n2025-01-01T00:00:00Z,0.5\n", "other hours"),
    ],
)
def test_bad_metrics_are_refused(audited: Audited, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "metrics"
    path.write_text(content)
    with pytest.raises(BillError, match=message):
        audited(machine(range(DAY)), AuditOptions(metrics=path))


def test_metrics_need_above_utilization_limit() -> None:
    """Two of three machines work at a mean of 40 %: 0.8 of one, a third at 0.8 each; the last is idle."""
    samples_ = pl.DataFrame({"time": [samples.START] * 3, "machine": ["a", "b", "c"], "utilization": [0.4, 0.4, 0.005]})
    metrics = utilization(samples_)
    fleet = samples.ledger(samples.pool([3.0] * 2)).fleet
    assert fleet is not None
    usage = usage_from_metrics(fleet, metrics, of_all_machines=True)
    assert usage is not None
    assert list(usage.known) == [True, False]
    assert usage.idle[0] == pytest.approx(1 / 3)
    assert usage.needed[0] == pytest.approx(0.8 / 3 / 0.8)
    assert (usage.confidence, usage.source) == ("high", "gpu of 3 machines")


def test_metrics_of_one_machine_less_certain() -> None:
    one = pl.DataFrame({"time": [samples.START], "machine": ["a"], "utilization": [0.4]})
    metrics = utilization(one)
    fleet = samples.ledger(samples.pool([3.0])).fleet
    assert fleet is not None
    usage = usage_from_metrics(fleet, metrics, of_all_machines=False)
    assert usage is not None
    assert (usage.confidence, usage.source, usage.of_all_machines) == ("medium", "gpu of 1 machine", False)
    later = utilization(one.with_columns(pl.col("time") + pl.duration(hours=1)))
    assert usage_from_metrics(fleet, later, of_all_machines=False) is None


def test_metrics_at_the_edge_of_idle() -> None:
    """A machine whose highest sample is 1 % of an hour works, one below is idle; a mean of 4 % needs 5 % of one."""
    frame = pl.DataFrame(
        {
            "time": [samples.START] * 3,
            "machine": ["a", "a", "b"],
            "utilization": [0.07, 0.01, 0.0099],
        }
    )
    fleet = samples.ledger(samples.pool([2.0])).fleet
    assert fleet is not None
    metrics = utilization(frame)
    usage = usage_from_metrics(fleet, metrics, of_all_machines=True)
    assert usage is not None
    assert usage.idle[0] == 0.5
    assert usage.needed[0] == pytest.approx(0.04 / 2 / 0.8)


def metrics_of(*samples_: tuple[int, str, float]) -> UtilizationMetrics:
    frame = pl.DataFrame(
        {
            "time": [samples.START + dt.timedelta(minutes=minute) for minute, _, _ in samples_],
            "machine": [machine for _, machine, _ in samples_],
            "utilization": [used for _, _, used in samples_],
        }
    )
    return utilization(frame)


def test_machine_works_if_one_gpu_does() -> None:
    """Two of four GPUs work at 80 %: the machine is not idle, and does half of what it could at that pace."""
    frame = pl.DataFrame({"time": [samples.START] * 4, "machine": ["a"] * 4, "utilization": [0.8, 0.8, 0.0, 0.0]})
    metrics = utilization(frame)
    metrics = replace(metrics, samples=metrics.samples.with_columns(gpu=pl.Series(list("0123"))), gpus=4)
    usage = usage_from_metrics(fleet_of(samples.pool([1.0])), metrics, of_all_machines=True)
    assert usage is not None
    assert (usage.idle[0], usage.needed[0]) == (0.0, pytest.approx(0.5))
    assert (usage.confidence, usage.source) == ("high", "gpu of 1 machine with 4 GPUs")
    pair = usage_from_metrics(fleet_of(samples.pool([1.0])), replace(metrics, gpus=2), of_all_machines=True)
    assert pair is not None
    assert pair.source == "gpu of 1 machine with 2 GPUs"


def test_gaps_are_not_idle() -> None:
    """Four samples an hour; an hour with one of them shows work, but not that there was none."""
    hours = [(0, 0.0)] * 4 + [(1, 0.0)] + [(2, 0.5)] + [(3, 0.0)] * 4
    rows = [(60 * hour + 15 * (place % 4), "a", used) for place, (hour, used) in enumerate(hours)]
    usage = usage_from_metrics(fleet_of(samples.pool([1.0] * 4)), metrics_of(*rows), of_all_machines=True)
    assert usage is not None
    assert list(usage.known) == [True, False, True, True]
    assert list(usage.idle) == [1.0, 0.0, 0.0, 1.0]
    assert usage.notes == ("1 machine hours with gaps and no work tell nothing",)
    assert usage.confidence == "high", "no more than one machine was paid for at once"


@pytest.mark.parametrize(("paid", "confidence"), [(2.0, "high"), (3.0, "medium")])
def test_unsampled_machines_make_it_less_certain(paid: float, confidence: str) -> None:
    usage = usage_from_metrics(
        fleet_of(samples.pool([paid])), metrics_of((0, "a", 0.5), (0, "b", 0.5)), of_all_machines=True
    )
    assert usage is not None
    assert usage.confidence == confidence


@pytest.mark.parametrize(("sampled", "known"), [(9, True), (8, False)])
def test_nine_tenths_of_the_samples_suffice(sampled: int, *, known: bool) -> None:
    """Of ten samples an hour the second hour lacks one or two; all show an idle machine."""
    places = [(hour, place) for hour, count in enumerate((10, sampled, 10)) for place in range(count)]
    metrics = metrics_of(*((60 * hour + 6 * place, "a", 0.0) for hour, place in places))
    usage = usage_from_metrics(fleet_of(samples.pool([1.0] * 3)), metrics, of_all_machines=True)
    assert usage is not None
    assert list(usage.known) == [True, known, True]


def test_guessed_metric_is_never_certain() -> None:
    metrics = utilization(pl.DataFrame({"time": [samples.START], "machine": ["a"], "utilization": [0.0]}))
    for confidence in ("low", "medium", "high"):
        guessed = replace(metrics, confidence=confidence)
        usage = usage_from_metrics(fleet_of(samples.pool([1.0])), guessed, of_all_machines=True)
        assert usage is not None
        assert usage.confidence == confidence


def test_metrics_count_in_their_hour() -> None:
    """Of two hours the second has samples, at its first and last minute; a machine that is idle is not needed."""
    fleet = fleet_of(samples.pool([2.0] * 2))
    metrics = metrics_of((-1, "a", 0.9), (60, "a", 1.0), (119, "a", 1.0), (90, "b", 0.0), (120, "b", 0.9))
    usage = usage_from_metrics(fleet, metrics, of_all_machines=True)
    assert usage is not None
    assert list(usage.known) == [False, True]
    assert (usage.idle[1], usage.needed[1]) == (0.5, 0.5)
    assert (usage.confidence, usage.source) == ("high", "gpu of 2 machines")
    assert usage_from_metrics(fleet, metrics_of((-1, "a", 0.9)), of_all_machines=True) is None
