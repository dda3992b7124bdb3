"""Ledgers of services whose saving is known: one machine where one is needed, two where one is, a backlog."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from meritorder.metering.capacity import PaidCapacity
from meritorder.records.accounting import LedgerReport
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.ledger.answer import account, cost_all, whole_period
from meritorder.study.ledger.attempts import from_columns
from meritorder.study.ledger.counterfactual import MAX_DRIFT

_EPOCH_S = 1_795_996_800.0
_SPAN_S = 3600.0
_COUNT = 1200
_USD = Decimal("0.86")


def _attempts(arrived_s: np.ndarray, served_s: np.ndarray, takes_s: np.ndarray, **columns: list[Any]) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    count = len(arrived_s)
    return from_columns(
        {
            "request_id": [f"req_{number}" for number in range(count)],
            "lane": ["realtime"] * count,
            "model": ["llama-3.1-8b"] * count,
            "venue": ["gpu"] * count,
            "replica": [f"r{number % 2}" for number in range(count)],
            "arrived_s": (_EPOCH_S + arrived_s).tolist(),
            "started_s": (_EPOCH_S + served_s).tolist(),
            "ended_s": (_EPOCH_S + served_s + takes_s).tolist(),
            "status_code": [200] * count,
            "outcome": ["answered"] * count,
            "input_tokens": rng.integers(100, 900, count).tolist(),
            "cached_tokens": [0] * count,
            "output_tokens": rng.integers(20, 300, count).tolist(),
        }
        | columns
    )


def _realtime(takes_s: float = 3.0) -> pl.DataFrame:
    arrived_s = np.sort(np.random.default_rng(0).uniform(0, _SPAN_S, _COUNT))
    return _attempts(arrived_s, arrived_s, np.full(_COUNT, takes_s))


def _replicas(count: int, machine: str = "runpod L40S") -> list[PaidCapacity]:
    return [
        PaidCapacity(
            venue="gpu",
            replica=f"r{number}",
            started_s=_EPOCH_S,
            ready_s=_EPOCH_S,
            ended_s=_EPOCH_S + _SPAN_S,
            usd_per_hour=_USD,
            machine=machine,
        )
        for number in range(count)
    ]


def _report(rows: pl.DataFrame, paid: list[PaidCapacity], model: str = "") -> LedgerReport:
    period = whole_period(rows, paid)
    return account(cost_all(rows, paid, period), (), real_time=CompareOptions(model=model))


def test_needed_machine_saves_nothing() -> None:
    rows = _realtime().with_columns(replica=pl.lit("r0"))
    report = _report(rows, _replicas(1))
    assert report.no_saving_because == ""
    assert report.saved_usd is not None
    assert report.saved_interval is not None
    assert report.saved_usd == pytest.approx(0, abs=0.001)
    assert report.saved_interval[0] <= report.saved_usd <= report.saved_interval[1]
    assert report.counterfactual_usd == report.paid_usd + report.saved_usd
    assert [cause.paid_usd for cause in report.by_cause] == [report.paid_usd, 0]


def test_interval_follows_the_rows() -> None:
    """A request takes ten times as long in some stretches as in others: the engine's speed is less certain."""
    steady = _report(_realtime().with_columns(replica=pl.lit("r0")), _replicas(1))
    drawn = np.random.default_rng(0).uniform(0, _SPAN_S, _COUNT)
    takes_s = np.where(np.arange(_COUNT) // 240 % 2, 1.5, 15.0)
    uneven = _attempts(np.sort(drawn), np.sort(drawn), takes_s).with_columns(replica=pl.lit("r0"))
    wide = _report(uneven, _replicas(1))
    factors = [
        [float(word) for word in report.counterfactual.basis.split() if word.replace(".", "").isdigit()][:2]
        for report in (steady, wide)
        if report.counterfactual is not None
    ]
    assert factors[0][1] / factors[0][0] < factors[1][1] / factors[1][0]


def test_superfluous_machine_is_no_saving() -> None:
    report = _report(_realtime(), _replicas(2))
    if report.saved_usd is None:  # the busy share of two half-used replicas is hard to meet
        pytest.fail(report.no_saving_because)
    # One replica serves all of it in real time: half of what was paid was not needed.
    assert float(report.saved_usd) == pytest.approx(-0.86, rel=0.02)


def test_waiting_backlog_saves_machines() -> None:
    # A burst that real time needs many machines for; one worked it off in five minutes, as fast as it could.
    count, worked_off_s = 2 * _COUNT, 160.0
    arrived_s = np.sort(np.random.default_rng(0).uniform(0, 60.0, count))
    served_s = np.maximum(arrived_s, np.linspace(0, worked_off_s, count, endpoint=False))
    deadlines: dict[str, list[Any]] = {
        "deadline_s": (_EPOCH_S + arrived_s + 7200).tolist(),
        "lane": ["deferrable"] * count,
        "replica": ["r0"] * count,
    }
    rows = _attempts(arrived_s, served_s, np.full(count, 8.0), **deadlines)
    paid = [replace(_replicas(1)[0], ended_s=_EPOCH_S + 300)]
    report = _report(rows, paid)
    assert report.no_saving_because == ""
    assert report.counterfactual is not None
    assert report.saved_usd is not None
    # Whole machines are always on for the same five minutes.
    machines = report.counterfactual.realtime_usd / report.counterfactual.as_ran_usd
    assert report.counterfactual.arrangement == f"{round(machines)} replicas, always on"
    assert float(report.saved_usd / report.paid_usd) == pytest.approx(machines - 1, rel=1e-3)
    assert machines > 1.9
    assert [(cause.lane, cause.paid_usd) for cause in report.by_cause] == [
        ("realtime", 0),
        ("deferrable", report.paid_usd),
    ]


def test_deferrable_lane_pays_the_rest() -> None:
    # Two machines ran; the real-time half of the requests needs one.
    lanes = ["realtime", "deferrable"] * (_COUNT // 2)
    deadlines = [None, _EPOCH_S + 2 * _SPAN_S] * (_COUNT // 2)
    rows = _realtime().with_columns(lane=pl.Series(lanes, dtype=pl.Categorical), deadline_s=pl.Series(deadlines))
    report = _report(rows, _replicas(2))
    assert report.no_saving_because == ""
    realtime, deferrable = (cause.paid_usd for cause in report.by_cause)
    assert realtime + deferrable == report.paid_usd
    assert float(realtime) == pytest.approx(0.86, rel=0.02)


def test_several_models_claim_nothing() -> None:
    models = pl.Series(["llama-3.1-8b", "llama-3.1-70b"] * (_COUNT // 2), dtype=pl.Categorical)
    report = _report(_realtime().with_columns(model=models), _replicas(2))
    assert "served 2 models" in report.no_saving_because


def test_short_period_follows_starts() -> None:
    """In slots of a minute, 72 seconds of a machine would be simulated as 60, too far from what was paid."""
    start_s, ready_s, span_s = 48.0, 53.0, 120.0
    arrived_s = np.linspace(ready_s, span_s - 5, 25)
    rows = _attempts(arrived_s, arrived_s, np.full(25, 3.0)).with_columns(replica=pl.lit("r0"))
    (machine,) = _replicas(1)
    ran_s = [_EPOCH_S + time_s for time_s in (start_s, ready_s, span_s)]
    machine = replace(machine, **dict(zip(("started_s", "ready_s", "ended_s"), ran_s, strict=True)))
    period = replace(whole_period(rows, [machine]), from_s=_EPOCH_S)
    report = account(cost_all(rows, [machine], period), (), real_time=CompareOptions())
    assert report.counterfactual is not None
    assert report.counterfactual.as_ran_usd == pytest.approx(float(report.paid_usd), rel=0.03)
    # Real time may cost as much less, or more, as the simulation of what ran missed.
    assert report.saved_interval is not None
    assert report.counterfactual_usd is not None
    paid_usd, real_time_usd = float(report.paid_usd), float(report.counterfactual_usd)
    missed = paid_usd / report.counterfactual.as_ran_usd
    low, high = sorted((real_time_usd * missed - paid_usd, real_time_usd / missed - paid_usd))
    assert float(report.saved_interval[0]) <= low + 2e-6
    assert float(report.saved_interval[1]) >= high - 2e-6
    assert high - low > 1e-4


def test_drift_claims_nothing() -> None:
    # By the ledger the engine was busy half a second for each request; such requests take longer.
    report = _report(_realtime(takes_s=0.3).with_columns(replica=pl.lit("r0")), _replicas(1))
    assert report.saved_usd is None
    assert "busy share" in report.no_saving_because
    assert report.counterfactual is not None
    simulated, measured = report.counterfactual.busy_simulated, report.counterfactual.busy_measured
    assert abs(simulated / measured - 1) > MAX_DRIFT


@pytest.mark.parametrize(
    ("machine", "model", "says"),
    [
        ("", "", "does not say on what its engines ran"),
        ("acme Z1", "", "no price of the machine"),
        ("runpod L40S", "no-such-model", "no-such-model"),
    ],
)
def test_unknown_machine_claims_nothing(machine: str, model: str, says: str) -> None:
    report = _report(_realtime(), _replicas(1, machine), model)
    assert says in report.no_saving_because
    assert report.counterfactual_usd is None


def test_tokens_alone_claim_nothing() -> None:
    rows = _realtime().with_columns(venue=pl.lit("api"), replica=None, cost_picousd=pl.lit(5))
    assert "nothing was paid by the time of a machine" in _report(rows, []).no_saving_because
