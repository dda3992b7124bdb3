"""The arrangements of a comparison: fleets that were simulated, and token APIs, as rows of the answer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog.tokens import cost_usd
from meritorder.domain import Lane, Tier
from meritorder.latency import quantile
from meritorder.offers import TokenPrice
from meritorder.records.comparison import TITLES, Arrangement, LaneCost, PaidTime, Timeline
from meritorder.study.compare.certainty import cost_interval
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.result import SearchResult
from meritorder.units import SECONDS_PER_HOUR, usd_per_mtok

Floats = NDArray[np.float64]


def fleet_arrangement(trial: Trial, search_result: SearchResult) -> Arrangement:
    """Return a simulated fleet as an arrangement."""
    load, machine = trial.load, trial.machine
    realtime = ~load.deferrable
    shown = realtime if realtime.any() else np.ones(len(load), bool)
    running_s = sum(pool.realtime_s + pool.deferrable_s for pool in trial.result.pools)
    ttft, tpot, e2e = trial.ttft_s[shown], trial.tpot_s[shown], trial.e2e_s[shown]
    notes = [trial.label]
    if trial.deadlines_missed:
        late = trial.deadlines_missed
        notes.append("1 request misses its deadline" if late == 1 else f"{late:,} requests miss their deadline")
    if not trial.feasible and trial.slo_attainment is not None:
        notes.append(f"only {trial.slo_attainment:.1%} of requests meet the SLO")
    return Arrangement(
        name=trial.name,
        title=TITLES[trial.name],
        feasible=trial.feasible,
        total_usd=trial.usd,
        usd_per_request=trial.usd / len(load),
        usd_per_mtok=usd_per_mtok(trial.usd, load.tokens),
        usd_interval=cost_interval(trial.usd, [machine for machine, _ in trial.pools]),
        utilization=utilization(trial),
        busy=running_s / trial.paid_s,
        replica_hours=trial.paid_s / SECONDS_PER_HOUR,
        peak_replicas=_peak_replicas(trial),
        ttft_p50_s=quantile(ttft, 0.5),
        ttft_p99_s=quantile(ttft, 0.99),
        tpot_p50_s=quantile(tpot, 0.5),
        tpot_p99_s=quantile(tpot, 0.99),
        e2e_p50_s=quantile(e2e, 0.5),
        e2e_p99_s=quantile(e2e, 0.99),
        slo_attainment=trial.slo_attainment,
        deadlines_missed=trial.deadlines_missed,
        lanes=_lanes(trial, search_result),
        paid_time=_paid_time(trial),
        replica=machine.profile.replica.label,
        engine_version=machine.profile.engine_version,
        venue=" + ".join(dict.fromkeys(machine.offer.label for machine, _ in trial.pools)),
        notes=notes,
        timeline=_timeline(trial),
    )


def utilization(trial: Trial) -> float:
    """Return work done over the work that the paid replica time could have done.

    The work of each lane is measured on the replicas that did it.
    """
    deferrable = trial.load.deferrable
    work_s = 0.0
    for lane, ran_s in (
        (~deferrable, [pool.realtime_s for pool in trial.result.pools]),
        (deferrable, [pool.deferrable_s for pool in trial.result.pools]),
    ):
        for (machine, _), seconds in zip(trial.pools, ran_s, strict=True):
            if seconds > 0:
                work_s += seconds / sum(ran_s) * float(machine.work_s(trial.load)[lane].sum())
    return work_s / trial.paid_s


def _peak_replicas(trial: Trial) -> int:
    return sum(
        account.peak_instances * machine.servers
        for account, (machine, _) in zip(trial.result.pools, trial.pools, strict=True)
    )


def _lanes(trial: Trial, search_result: SearchResult) -> list[LaneCost]:
    """Allocate to the real-time lane what its fleet would cost alone, and the rest to the deferrable lane."""
    deferrable = trial.load.deferrable
    count, waiting = len(deferrable), int(deferrable.sum())
    average = trial.usd / count
    if trial.name != "mix" or waiting == 0 or search_result.realtime_alone is None:
        lane = Lane.DEFERRABLE if waiting == count else Lane.REALTIME
        return [_lane(lane, count, trial.usd, average)]
    realtime_usd = min(search_result.realtime_alone.usd, trial.usd)
    return [
        _lane(Lane.REALTIME, count - waiting, realtime_usd, average),
        _lane(Lane.DEFERRABLE, waiting, trial.usd - realtime_usd, average),
    ]


def _lane(lane: Lane, requests: int, usd: float, average: float) -> LaneCost:
    return LaneCost(
        lane=lane,
        requests=requests,
        total_usd=usd,
        usd_per_request=usd / requests if requests else None,
        average_usd_per_request=average,
    )


def _paid_time(trial: Trial) -> PaidTime:
    pools = trial.result.pools
    return PaidTime(
        realtime_s=sum(pool.realtime_s for pool in pools),
        deferrable_s=sum(pool.deferrable_s for pool in pools),
        startup_s=sum(pool.startup_s for pool in pools),
        idle_s=sum(pool.idle_s for pool in pools),
        lost_s=sum(pool.lost_s for pool in pools),
    )


def _timeline(trial: Trial) -> Timeline:
    result = trial.result
    used = int(np.ceil(result.end_s / result.bin_s))

    def replicas(bins: Floats) -> list[float]:
        return [round(float(value), 4) for value in bins.sum(axis=0)[:used] / result.bin_s]

    return Timeline(
        bin_s=result.bin_s,
        start_s=[index * result.bin_s for index in range(min(used, result.capacity_bins_s.shape[1]))],
        realtime_load=replicas(result.realtime_bins_s),
        deferrable_load=replicas(result.deferrable_bins_s),
        capacity=replicas(result.capacity_bins_s),
    )


def cheapest_price(prices: Sequence[TokenPrice], tier: Tier, load: TraceLoad) -> TokenPrice | None:
    """Return the token price of a tier at which the requests cost least, None if there is none."""
    of_tier = [price for price in prices if price.tier is tier]
    return min(of_tier, key=lambda price: price_tokens(price, load), default=None)


def price_tokens(price: TokenPrice, load: TraceLoad) -> float:
    """Return what all requests cost at a token price."""
    return float(cost_usd(price, load.input_tokens, load.cached_tokens, load.output_tokens).sum())


def token_arrangement(tier: Tier, price: TokenPrice, load: TraceLoad) -> Arrangement:
    """Return all requests bought at one token price as an arrangement."""
    usd = price_tokens(price, load)
    notes = ["the provider publishes no latency, so whether it meets the SLO is unknown"]
    if price.note:
        notes.append(price.note)
    return Arrangement(
        name=f"api_{tier}",
        title=f"Token API, {tier}",
        feasible=True,
        total_usd=usd,
        usd_per_request=usd / len(load),
        usd_per_mtok=usd_per_mtok(usd, load.tokens),
        lanes=[],
        venue=f"{price.provider} {price.provider_model}",
        notes=notes,
    )
