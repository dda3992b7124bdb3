"""Drift: predicted against measured latency by workload, and cost.

The ledger of a day measures an engine better than a profile of machines like it: whatever the interval of the profile,
the speed that was measured is that of the next prediction. The interval tells how much workloads may differ in it.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from msgspec import structs
from numpy.typing import NDArray

from meritorder.latency import tpot_s
from meritorder.perf.accuracy import expected_accuracy
from meritorder.records.autopilot import Drift, WorkloadDrift
from meritorder.study.autopilot.judge import Judged
from meritorder.study.plan.replay import Replay

Floats = NDArray[np.float64]

_LEVELS: Final = (0.05, 0.95)
_LEAST: Final = 0.1
"""Deviations below this are noise of medians."""
_MIN_REQUESTS: Final = 20
_COST: Final = 0.15


def measure_drift(judged: Judged, rows: pl.DataFrame, paid_usd_per_day: float | None, *, slower: float) -> Drift:
    """Return how far what was measured is from what was predicted.

    Args:
        judged: The plan in force, simulated on the requests of the rows.
        rows: Their rows in the ledger.
        paid_usd_per_day: What was paid in that time; None if nothing has a price.
        slower: Factor on engine steps that the prediction has already.
    """
    replay = judged.replay
    low, high = _interval(replay)
    measured = _Measured(rows)
    workloads = list(_by_workload(replay, measured))
    drift = Drift(
        low=low,
        high=high,
        workloads=workloads,
        predicted_usd_per_day=judged.alternative.usd_per_day,
        paid_usd_per_day=paid_usd_per_day,
        slower=slower,
    )
    if any(abs(workload.ratio - 1) > _LEAST for workload in workloads):
        common = float(np.average([drifted.ratio for drifted in workloads], weights=[w.requests for w in workloads]))
        strange = [drifted for drifted in workloads if not low <= drifted.ratio / common <= high]
        if strange:
            return structs.replace(drift, stop_because=_latency_reason(strange[0], low, high))
        if abs(common - 1) > _LEAST:
            return structs.replace(drift, slower=slower * common)
    return structs.replace(drift, stop_because=_cost_reason(judged.alternative.usd_per_day, paid_usd_per_day, high))


class _Measured:
    """What the ledger measured of each request, in the order of arrival."""

    def __init__(self, rows: pl.DataFrame) -> None:
        ordered = rows.sort("arrived_s", maintain_order=True)
        arrived, ended = (ordered[name].cast(pl.Float64).to_numpy() for name in ("arrived_s", "ended_s"))
        ttft = ordered["ttft_s"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        started = ordered["started_s"].cast(pl.Float64).to_numpy()
        output = ordered["output_tokens"].cast(pl.Int64).to_numpy()
        self.streamed = np.isfinite(ttft)
        whole_s = (ended - np.where(np.isfinite(started), started, arrived)) / np.maximum(output, 1)
        self.pace_s = np.where(self.streamed, tpot_s(ended - arrived, ttft, output), whole_s)
        self.models = ordered["model"].cast(pl.String).to_numpy()
        lanes = ordered["lane"].cast(pl.String)
        self.names = ordered["workload"].cast(pl.String).fill_null(lanes).to_numpy()
        self.lanes = lanes.to_numpy()


def _by_workload(replay: Replay, measured: _Measured) -> Sequence[WorkloadDrift]:
    """Return the drift of each workload; none where the simulation has left requests out."""
    if len(replay.models) != 1:
        return []
    outcome = next(iter(replay.models.values()))
    if outcome.result is None or len(outcome.load) != len(measured.pace_s):
        return []
    result, load = outcome.result, outcome.load
    whole_s = (result.finished_s - result.admitted_s) / np.maximum(load.output_tokens, 1)
    predicted_s = np.where(measured.streamed, outcome.latencies[1], whole_s)
    usable = np.isfinite(predicted_s) & np.isfinite(measured.pace_s) & (measured.pace_s > 0) & (predicted_s > 0)
    drifts = []
    for name in np.unique(measured.names):
        members = usable & (measured.names == name)
        if members.sum() < _MIN_REQUESTS:
            continue
        expected, actual = float(np.median(predicted_s[members])), float(np.median(measured.pace_s[members]))
        drifts.append(
            WorkloadDrift(
                workload=str(name),
                lane=str(measured.lanes[members][0]),
                requests=int(members.sum()),
                predicted_s=expected,
                measured_s=actual,
                ratio=actual / expected,
            )
        )
    return drifts


def _interval(replay: Replay) -> tuple[float, float]:
    """Return the factors on engine steps between which nine in ten measurements of the profiles lie."""
    lows, highs = [1 - _LEAST], [1 + _LEAST]
    for machine in replay.machines.values():
        known = expected_accuracy(machine.profile)
        if known is not None:
            low, high = known.factors(_LEVELS, 0).tolist()
            lows.append(low)
            highs.append(high)
    return min(lows), max(highs)


def _latency_reason(drift: WorkloadDrift, low: float, high: float) -> str:
    return (
        f"a token of {drift.workload} takes {1000 * drift.measured_s:.1f} ms instead of {1000 * drift.predicted_s:.1f} "
        f"ms ({drift.ratio:.2f} times as long; the profile's interval is {low:.2f} to {high:.2f}), and other workloads "
        "do not: calibrate the profile again"
    )


def _cost_reason(predicted_usd: float, paid_usd: float | None, high: float) -> str:
    """Return how far the cost is from the prediction; empty if not too far, or unknown."""
    if paid_usd is None or predicted_usd <= 0:
        return ""
    ratio, limit = paid_usd / predicted_usd, 1 + max(_COST, high - 1)
    if 1 / limit <= ratio <= limit:
        return ""
    return (
        f"the last day cost {paid_usd:.2f} USD and its simulation {predicted_usd:.2f} USD: more than "
        f"{limit - 1:.0%} apart"
    )
