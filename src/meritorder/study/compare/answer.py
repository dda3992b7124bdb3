"""Put the simulated fleets together into the answer of `compare`."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.comparison import (
    Arrangement,
    Comparison,
    FrontierPoint,
    LaneCost,
    PaidTime,
    Timeline,
    TraceSummary,
)
from meritorder.domain import Lane, Model, Offer, Provenance, Tier, TokenPrice
from meritorder.evidence import Assumption, Interval, PriceUsed
from meritorder.study.compare import tokens, why
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.search import SearchResult
from meritorder.traces import Trace
from meritorder.traces.statistics import describe
from meritorder.units import SECONDS_PER_HOUR, format_usd, usd_per_mtok

Floats = NDArray[np.float64]

_TITLES: Final = {
    "realtime_fixed": "Real time, always on",
    "realtime_autoscaled": "Real time, autoscaled",
    "batch": "Batch",
    "mix": "Mix",
}
_TIERS: Final = (Tier.STANDARD, Tier.BATCH, Tier.FLEX)
# The field's experience of real time against batch, per request (DESIGN, 1).
_USUAL_RATIO: Final = (2.0, 5.0)
_MOST_FRONTIER_POINTS: Final = 60


def put_together(
    *,
    trace: Trace,
    model: Model,
    found: SearchResult,
    load: TraceLoad,
    assumptions: list[Assumption],
    interval: Interval | None,
    prices: Sequence[TokenPrice],
) -> Comparison:
    """Return the whole answer.

    Args:
        trace: What was read.
        model: What is served.
        found: The simulated fleets.
        load: The requests with their promises.
        assumptions: What was taken that the input does not say.
        interval: How sure the saving is.
        prices: Prices of the model as tokens.
    """
    bought = [(tier, tokens.cheapest(prices, tier, load)) for tier in _TIERS]
    apis = [(tier, price) for tier, price in bought if price is not None]
    fleets = [_fleet(trial, found) for trial in (found.fixed, found.autoscaled, found.batch, found.mix)]
    arrangements = [*fleets, *(tokens.arrangement(tier, price, load) for tier, price in apis)]
    baseline, mixed = found.baseline, found.mix
    ratio = baseline.usd / found.batch.usd
    saving_usd = baseline.usd - mixed.usd
    waterfalls = [why.to_batch(baseline, found.batch, found.slo_utilization)]
    if found.alone is not None and mixed.usd < baseline.usd:
        waterfalls.append(why.to_mix(baseline, mixed, found.slo_utilization, found.alone))
    break_even, break_even_note = tokens.break_even(found.baseline.machine, apis, load)
    return Comparison(
        trace=_summary(trace),
        model=model.id,
        hardware=baseline.machine.profile.hardware,
        assumptions=[*assumptions, *(Assumption(text=text) for text in trace.report.assumptions)],
        arrangements=arrangements,
        baseline=baseline.name,
        best=mixed.name if saving_usd > 0 else baseline.name,
        saving_usd=saving_usd,
        saving_share=saving_usd / baseline.usd,
        saving_interval=interval,
        ratio_realtime_to_batch=ratio,
        ratio_note=_ratio_note(ratio, baseline, found.batch),
        break_even_utilization=break_even,
        break_even_note=break_even_note,
        sentence=_sentence(found, load, ratio, apis),
        waterfall=waterfalls,
        frontier=_frontier(found),
        prices=[*_offers_used(found), *(tokens.price_used(tier, price) for tier, price in apis)],
        performance=_performance(found),
        warnings=_warnings(trace, found, load),
    )


def _fleet(trial: Trial, found: SearchResult) -> Arrangement:
    load, machine = trial.load, trial.machine
    realtime = ~load.deferrable
    shown = realtime if realtime.any() else np.ones(len(load), bool)
    work_s = _work_done_s(trial)
    running_s = sum(pool.realtime_s + pool.deferrable_s for pool in trial.result.pools)
    ttft, tpot, e2e = trial.ttft_s[shown], trial.tpot_s[shown], trial.e2e_s[shown]
    notes = [trial.label]
    if trial.missed:
        notes.append(f"{trial.missed:,} requests miss their deadline")
    if not trial.kept and trial.attainment is not None:
        notes.append(f"the SLO is kept for {trial.attainment:.1%} of requests only")
    return Arrangement(
        name=trial.name,
        title=_TITLES[trial.name],
        feasible=trial.kept,
        total_usd=trial.usd,
        usd_per_request=trial.usd / len(load),
        usd_per_mtok=usd_per_mtok(trial.usd, load.tokens),
        utilization=work_s / trial.paid_s,
        busy=running_s / trial.paid_s,
        replica_hours=trial.paid_s / SECONDS_PER_HOUR,
        peak_replicas=_peak_replicas(trial),
        ttft_p50_s=_quantile(ttft, 0.5),
        ttft_p99_s=_quantile(ttft, 0.99),
        tpot_p50_s=_quantile(tpot, 0.5),
        tpot_p99_s=_quantile(tpot, 0.99),
        e2e_p50_s=_quantile(e2e, 0.5),
        e2e_p99_s=_quantile(e2e, 0.99),
        slo_attainment=trial.attainment,
        deadlines_missed=trial.missed,
        lanes=_lanes(trial, found),
        paid_time=_paid_time(trial),
        replica=machine.profile.replica.label,
        venue=" + ".join(dict.fromkeys(each.offer.label for each, _ in trial.pools)),
        notes=notes,
        timeline=_timeline(trial),
    )


def _work_done_s(trial: Trial) -> float:
    """Return the work in seconds of full replicas, each lane's measured on the replicas that did it."""
    deferrable = trial.load.deferrable
    total_s = 0.0
    for lane, ran_s in (
        (~deferrable, [pool.realtime_s for pool in trial.result.pools]),
        (deferrable, [pool.deferrable_s for pool in trial.result.pools]),
    ):
        for (machine, _), seconds in zip(trial.pools, ran_s, strict=True):
            if seconds > 0:
                total_s += seconds / sum(ran_s) * float(machine.work_s(trial.load)[lane].sum())
    return total_s


def _peak_replicas(trial: Trial) -> int:
    return sum(
        account.peak_instances * pool.replicas_per_instance
        for account, (_, pool) in zip(trial.result.pools, trial.pools, strict=True)
    )


def _quantile(values: Floats, q: float) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, q)) if len(known) else None


def _lanes(trial: Trial, found: SearchResult) -> list[LaneCost]:
    """Charge the real-time lane what its fleet would cost alone, the deferrable lane the increment."""
    deferrable = trial.load.deferrable
    count, waits = len(deferrable), int(deferrable.sum())
    average = trial.usd / count
    if trial.name != "mix" or waits == 0 or found.alone is None:
        lane = Lane.DEFERRABLE if waits == count else Lane.REALTIME
        return [_lane(lane, count, trial.usd, average)]
    alone_usd = min(found.alone.usd, trial.usd)
    return [
        _lane(Lane.REALTIME, count - waits, alone_usd, average),
        _lane(Lane.DEFERRABLE, waits, trial.usd - alone_usd, average),
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


def _ratio_note(ratio: float, baseline: Trial, batch: Trial) -> str:
    low, high = _USUAL_RATIO
    if low <= ratio <= high:
        return ""
    full = f"{_utilization(baseline):.0%} of the paid capacity in real time, {_utilization(batch):.0%} in batch"
    if ratio < low:
        return f"Less than the usual 2 to 5: work fills {full}."
    return f"More than the usual 2 to 5: work fills {full}."


def _utilization(trial: Trial) -> float:
    return _work_done_s(trial) / trial.paid_s


def _sentence(found: SearchResult, load: TraceLoad, ratio: float, apis: list[tuple[Tier, TokenPrice]]) -> str:
    return " ".join([*_own_hardware(found, load, ratio), *_as_tokens(found, load, apis)])


def _as_tokens(found: SearchResult, load: TraceLoad, apis: list[tuple[Tier, TokenPrice]]) -> list[str]:
    if not apis:
        return []
    tier, price = min(apis, key=lambda api: tokens.usd_of(api[1], load))
    usd = tokens.usd_of(price, load)
    if usd >= found.mix.usd:
        return []
    rate = f"{price.provider}, {tier} rate"
    return [f"Bought as tokens they would cost {format_usd(usd)} ({rate}), at a latency that nobody promises."]


def _own_hardware(found: SearchResult, load: TraceLoad, ratio: float) -> list[str]:
    per_request = found.baseline.usd / len(load)
    batch_per_request = found.batch.usd / len(load)
    start = (
        f"In real time these {len(load):,} requests cost {format_usd(found.baseline.usd)} "
        f"({format_usd(per_request)} each), in batch {format_usd(found.batch.usd)} "
        f"({format_usd(batch_per_request)} each): {ratio:.1f} times less."
    )
    waits = float(load.deferrable.mean())
    if waits == 0:
        return [start, "Nothing is marked as able to wait; say what may, with --defer 40%@4h or --workloads."]
    if found.mix.usd < found.baseline.usd:
        saved = 1 - found.mix.usd / found.baseline.usd
        cost = format_usd(found.mix.usd)
        return [start, f"Letting {waits:.0%} of them wait costs {cost}, which saves {saved:.0%}, every promise kept."]
    return [start, f"Letting {waits:.0%} of them wait saves nothing here: the real-time fleet is needed either way."]


def _frontier(found: SearchResult) -> list[FrontierPoint]:
    points = [
        FrontierPoint(
            arrangement=trial.name,
            label=trial.label,
            usd_per_request=trial.usd / len(trial.load),
            ttft_p99_s=_quantile(trial.ttft_s[~trial.load.deferrable], 0.99),
            e2e_p50_s=_quantile(trial.e2e_s, 0.5) or 0.0,
            keeps_promise=trial.kept,
        )
        for trial in found.tried
        if len(trial.load) == len(found.baseline.load)
    ]
    return points[:_MOST_FRONTIER_POINTS]


def _offers_used(found: SearchResult) -> list[PriceUsed]:
    offers: dict[str, Offer] = {}
    uses: dict[str, list[str]] = {}
    for trial in (found.baseline, found.fixed, found.batch, found.mix):
        for machine, _ in trial.pools:
            offer, title = machine.offer, _TITLES[trial.name]
            offers[offer.label] = offer
            titles = uses.setdefault(offer.label, [])
            if title not in titles:
                titles.append(title)
    return [
        PriceUsed(
            what=f"{offer.gpus} x {offer.hardware}, {offer.instance} {offer.region}".strip(),
            provider=offer.provider,
            pricing_model=offer.pricing_model,
            usd=offer.usd_per_hour,
            unit="USD an hour",
            as_of=offer.as_of,
            source=offer.source,
            confidence=offer.confidence,
            used_for="; ".join(uses[label]),
        )
        for label, offer in offers.items()
    ]


def _performance(found: SearchResult) -> list[str]:
    lines = []
    for trial in (found.baseline, found.batch, found.mix):
        for machine, _ in trial.pools:
            profile = machine.profile
            if profile.provenance is Provenance.CALIBRATED:
                basis = f"calibrated: {profile.source}"
            else:
                basis = f"{profile.provenance}: {profile.source}, {profile.as_of}"
            lines.append(
                f"{profile.replica.label}: {basis}; table within {profile.table_error_p90:.0%} of its source (p90); "
                f"full it serves {machine.saturation.tokens_per_s:,.0f} tokens/s with "
                f"{machine.saturation.sequences:.0f} sequences"
            )
    return list(dict.fromkeys(lines))


def _warnings(trace: Trace, found: SearchResult, load: TraceLoad) -> list[str]:
    report = trace.report
    warnings = []
    if report.bad_rows:
        shown = "; ".join(str(row) for row in report.first_bad[:3])
        warnings.append(f"{report.bad_rows:,} of {report.rows:,} rows make no sense and were left out: {shown}")
    warnings += [f"{count:,} rows set aside: {reason}" for reason, count in report.set_aside.items()]
    if report.estimated_tokens:
        warnings.append("token counts were estimated from text")
    if not load.deferrable.any():
        warnings.append("nothing is marked as able to wait, so the mix is the real-time fleet")
    if not found.autoscaled.kept:
        warnings.append("no autoscaler tried keeps the SLO: start-up takes longer than the traffic gives notice")
    if found.batch.missed:
        warnings.append(f"in batch {found.batch.missed:,} requests would miss their deadline")
    return warnings


def _summary(trace: Trace) -> TraceSummary:
    statistics, report = describe(trace), trace.report
    requests = trace.requests
    return TraceSummary(
        files=list(report.files),
        format=report.format,
        requests=requests.height,
        span_s=trace.span_s,
        mean_rate_per_s=statistics.mean_rate_per_s or 0.0,
        peak_to_mean_hour=statistics.peak_to_mean_hour,
        input_tokens=int(requests["input_tokens"].sum()),
        cached_tokens=int(requests["cached_tokens"].sum()),
        output_tokens=int(requests["output_tokens"].sum()),
        bad_rows=report.bad_rows,
        failed_rows=report.failed_rows,
        estimated_tokens=report.estimated_tokens,
        start_epoch_s=trace.epoch_s,
    )
