"""Why two arrangements differ in cost: parts that add up.

Say what work costs as dollars of full replicas, `W`, and let `u` be the utilisation of a real-time replica at the
highest load at which it keeps its SLO. What an arrangement pays splits into

    paid = (paid - W - small)  +  small  +  W          small = W_realtime (1 / u - 1)
            idle and              small     the work
            over-provisioned      batches   itself

Beyond `W + small` lies what is paid above the fullest fleet that still keeps the SLO. The difference of two
arrangements is the difference of the three; what waits escapes the first two. See docs/maths.md.
"""

from dataclasses import dataclass

import msgspec

from meritorder.comparison import Waterfall, WaterfallPart
from meritorder.study.fleet.fleets import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """What an arrangement pays, in dollars; the parts add up to it."""

    beyond_usd: float
    small_usd: float
    work_usd: float


def to_batch(realtime: Trial, batch: Trial, slo_utilization: float) -> Waterfall:
    """Split real time → batch.

    Args:
        realtime: The baseline.
        batch: All requests in batch.
        slo_utilization: Utilisation of a real-time replica at the highest load at which it keeps its SLO.
    """
    start, end = _split_realtime(realtime, slo_utilization), _split_batch(batch)
    parts = [
        WaterfallPart(
            name="idle_and_overprovisioned",
            title="Idle and over-provisioned capacity",
            usd=-start.beyond_usd,
            why="capacity is paid for the peak, and stands partly idle off it",
        ),
        _batch_size(start, end),
        WaterfallPart(
            name="deferral",
            title="Deferral",
            usd=end.beyond_usd,
            why="collecting has its price: each run starts up, and has a tail",
        ),
        *_prices(start, end),
    ]
    return _waterfall(realtime, batch, parts)


def to_mix(realtime: Trial, mix: Trial, slo_utilization: float, alone: Trial) -> Waterfall:
    """Split real time → mix.

    Args:
        realtime: The baseline, all requests in real time.
        mix: Both lanes.
        slo_utilization: Utilisation of a real-time replica at the highest load at which it keeps its SLO.
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
            why="what can wait fills the gaps of the real-time fleet, or has to be rented for",
        ),
        _batch_size(start, end),
        WaterfallPart(
            name="deferral",
            title="Deferral",
            usd=lane.beyond_usd - start.beyond_usd,
            why="the peak no longer has to hold what can wait",
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
    """Price the deferrable work where it ran: each pool's share of it by time."""
    waiting = mix.load.select(mix.load.deferrable)
    ran_s = [pool.deferrable_s for pool in mix.result.pools]
    total_s = sum(ran_s)
    if total_s == 0:
        return mix.machine.price_work(waiting)
    return sum(
        seconds / total_s * machine.price_work(waiting) for seconds, (machine, _) in zip(ran_s, mix.pools, strict=True)
    )


def _waterfall(start: Trial, end: Trial, parts: list[WaterfallPart]) -> Waterfall:
    """Join the parts; what is only rounding is nothing."""
    least_usd = 1e-9 * start.usd
    clean = [part if abs(part.usd) > least_usd else msgspec.structs.replace(part, usd=0.0) for part in parts]
    return Waterfall(start=start.name, end=end.name, from_usd=start.usd, to_usd=end.usd, parts=clean)


def _batch_size(start: _Split, end: _Split) -> WaterfallPart:
    return WaterfallPart(
        name="batch_size",
        title="Batch size",
        usd=end.small_usd - start.small_usd,
        why="the pace promised in real time keeps batches smaller than the hardware would hold",
    )


def _prices(start: _Split, end: _Split) -> list[WaterfallPart]:
    return [
        WaterfallPart(
            name="pricing_model",
            title="Machine and pricing model",
            usd=end.work_usd - start.work_usd,
            why="the same work on another machine or size of replica, or under another pricing model",
        ),
        WaterfallPart(name="api_tier", title="Token-API tier", usd=0.0, why="no tokens are bought here"),
    ]
