"""Why two arrangements differ in cost: the difference in parts that add up.

Let `W` be the cost of the work on saturated replicas, and `u` the utilization of a real-time replica at the highest
load at which it meets its SLO. What an arrangement pays splits into

    paid = (paid - W - small)  +  small  +  W          small = W_realtime (1 / u - 1)
            idle and              small     the work
            over-provisioned      batches   itself

The first part is what is paid above the smallest fleet that still meets the SLO. The difference of two arrangements
is the difference of the three parts; deferred requests avoid the first two. See docs/maths.md.
"""

from dataclasses import dataclass

import msgspec

from meritorder.records.comparison import Waterfall, WaterfallPart
from meritorder.study.fleet.fleets import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """The three parts of what an arrangement pays."""

    beyond_usd: float
    small_usd: float
    work_usd: float


def to_batch(realtime: Trial, batch: Trial, slo_utilization: float) -> Waterfall:
    """Return the waterfall from real time to batch.

    Args:
        realtime: The baseline.
        batch: All requests in batch.
        slo_utilization: Utilization of a real-time replica at the highest load at which it meets its SLO.
    """
    start, end = _split_realtime(realtime, slo_utilization), _split_batch(batch)
    parts = [
        WaterfallPart(
            name="idle_and_overprovisioned",
            title="Idle and over-provisioned capacity",
            usd=-start.beyond_usd,
            why="capacity is sized for the peak and partly idle at other times",
        ),
        _batch_size(start, end),
        WaterfallPart(
            name="deferral",
            title="Deferral",
            usd=end.beyond_usd,
            why="each batch run has a start-up and a tail",
        ),
        *_prices(start, end),
    ]
    return _waterfall(realtime, batch, parts)


def to_mix(realtime: Trial, mix: Trial, slo_utilization: float, alone: Trial) -> Waterfall:
    """Return the waterfall from real time to the mix.

    Args:
        realtime: The baseline, all requests in real time.
        mix: Both lanes.
        slo_utilization: Utilization of a real-time replica at the highest load at which it meets its SLO.
        alone: The real-time lane alone, on its cheapest fleet.
    """
    start = _split_realtime(realtime, slo_utilization)
    lane = _split_realtime(alone, slo_utilization)
    work_usd = lane.work_usd + _deferred_work_usd(mix)
    end = _Split(beyond_usd=mix.usd - work_usd - lane.small_usd, small_usd=lane.small_usd, work_usd=work_usd)
    parts = [
        WaterfallPart(
            name="idle_and_overprovisioned",
            title="Idle and over-provisioned capacity",
            usd=end.beyond_usd - lane.beyond_usd,
            why="deferrable work fills gaps of the real-time fleet, or runs on machines rented for it",
        ),
        _batch_size(start, end),
        WaterfallPart(
            name="deferral",
            title="Deferral",
            usd=lane.beyond_usd - start.beyond_usd,
            why="the peak no longer includes deferrable work",
        ),
        *_prices(start, end),
    ]
    return _waterfall(realtime, mix, parts)


def _split_realtime(trial: Trial, slo_utilization: float) -> _Split:
    work_usd = trial.machine.price_work(trial.load)
    small_usd = work_usd * (1 / slo_utilization - 1)
    return _Split(beyond_usd=trial.usd - work_usd - small_usd, small_usd=small_usd, work_usd=work_usd)


def _split_batch(trial: Trial) -> _Split:
    work_usd = trial.machine.price_work(trial.load)
    return _Split(beyond_usd=trial.usd - work_usd, small_usd=0.0, work_usd=work_usd)


def _deferred_work_usd(mix: Trial) -> float:
    """Price the deferrable work where it ran, in proportion to the time in each pool."""
    deferrable = mix.load.select(mix.load.deferrable)
    ran_s = [pool.deferrable_s for pool in mix.result.pools]
    total_s = sum(ran_s)
    if total_s == 0:
        return mix.machine.price_work(deferrable)
    return sum(
        seconds / total_s * machine.price_work(deferrable)
        for seconds, (machine, _) in zip(ran_s, mix.pools, strict=True)
    )


def _waterfall(start: Trial, end: Trial, parts: list[WaterfallPart]) -> Waterfall:
    """Return the parts as a waterfall, rounding errors set to zero."""
    smallest_usd = 1e-9 * start.usd
    rounded = [part if abs(part.usd) > smallest_usd else msgspec.structs.replace(part, usd=0.0) for part in parts]
    return Waterfall(start=start.name, end=end.name, from_usd=start.usd, to_usd=end.usd, parts=rounded)


def _batch_size(start: _Split, end: _Split) -> WaterfallPart:
    return WaterfallPart(
        name="batch_size",
        title="Batch size",
        usd=end.small_usd - start.small_usd,
        why="the TPOT limit keeps real-time batches smaller than the hardware could hold",
    )


def _prices(start: _Split, end: _Split) -> list[WaterfallPart]:
    return [
        WaterfallPart(
            name="pricing_model",
            title="Machine and pricing model",
            usd=end.work_usd - start.work_usd,
            why="the same work on another machine or replica size, or under another pricing model",
        ),
        WaterfallPart(
            name="api_tier", title="Token-API tier", usd=0.0, why="no tokens are bought in either arrangement"
        ),
    ]
