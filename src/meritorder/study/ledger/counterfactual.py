"""What real time alone would have cost for the same requests, on the same machines at the same price.

    saved = (real time alone - as it ran) * paid / as it ran

Real time alone and the replicas that ran are both simulated; real time is what `search_realtime` finds, as in `compare`
and `plan`. Nothing is claimed where the simulation of what ran is more than 15 % from what was paid or measured.

The interval has two errors in it. Steps may be as much shorter or longer as the profile was wrong where it was judged,
or as the simulation of what ran is on the rows of the ledger, whichever is more. And the cost of real time may be as
far off, in either direction, as the simulated cost of what ran is from what was paid.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

import numpy as np
import polars as pl

from meritorder import catalog as facts
from meritorder.catalog.machines import find_machine
from meritorder.catalog.tokens import find_model_or_prices
from meritorder.domain import BackfillLimits, Lane, PricingModel
from meritorder.errors import InfeasibleError, MeritorderError
from meritorder.metering.capacity import PaidCapacity, Span
from meritorder.offers import Offer
from meritorder.perf.accuracy import expected_accuracy
from meritorder.perf.calibration import Floats, stretch_ratios
from meritorder.policy.replicas import DECISION_S
from meritorder.records.accounting import Counterfactual, LaneSpend, LedgerReport, Use
from meritorder.sim.pools import Scheduled
from meritorder.study.fleet.fleets import Trial, simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, find_machines, max_backfill, unrestricted_backfill
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.fleet.realtime import search_realtime
from meritorder.study.fleet.workloads import assign_workloads, only_model
from meritorder.study.ledger.costing import CostedLedger, Period
from meritorder.study.ledger.savings import share_saving
from meritorder.study.ledger.summary import cost_sums, is_final
from meritorder.traces.read import read_trace
from meritorder.units import SECONDS_PER_MINUTE, exact_usd, format_share

MAX_DRIFT: Final = 0.15
_LEVELS: Final = (0.05, 0.95)
_STRETCHES: Final = 10
_SLOTS: Final = (100, 10_000)
"""Slots that tell how many replicas served: a minute long if that makes as many, else of as many parts."""
_US_PER_S: Final = 1_000_000


class _NoClaimError(Exception):
    """No saving can be claimed; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """The replicas that ran.

    Args:
        spans: When they were paid.
        paid_usd: What was paid for them.
        busy: Share of their serving time with a request running.
        usd_per_hour: Mean price of one.
        startup_s: Mean time from the start of one until it served.
    """

    spans: Sequence[Span]
    paid_usd: Decimal
    busy: float
    usd_per_hour: float
    startup_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Simulated:
    """What was simulated.

    Args:
        counterfactual: Real time alone, and what ran.
        saved_usd: The saving.
        interval_usd: Its interval; None if no error was seen that could change it.
        realtime_lane_usd: What the machines of the real-time lane alone would cost, at most what was paid.
    """

    counterfactual: Counterfactual
    saved_usd: Decimal
    interval_usd: tuple[Decimal, Decimal] | None
    realtime_lane_usd: Decimal


def with_counterfactual(
    report: LedgerReport,
    costed: CostedLedger,
    options: CompareOptions,
    progress: Progress,
) -> LedgerReport:
    """Return a report with what real time alone would have cost, or the reason why that cannot be said.

    Args:
        report: The report without it.
        costed: The costs that it sums up.
        options: Model, profile and SLO; the machine is that of the ledger.
        progress: Receives each step.
    """
    try:
        simulated = _simulate(report, costed, options, progress)
    except (_NoClaimError, MeritorderError) as error:
        return _replaced(report, no_saving_because=str(error))
    counterfactual, saved_usd = simulated.counterfactual, simulated.saved_usd
    drift = _drift(counterfactual)
    if drift:
        return _replaced(report, no_saving_because=drift, counterfactual=counterfactual)
    return _replaced(
        report,
        no_saving_because="",
        counterfactual=counterfactual,
        counterfactual_usd=report.paid_usd + saved_usd,
        saved_usd=saved_usd,
        saved_interval=simulated.interval_usd,
        by_cause=_causes(report, costed, simulated.realtime_lane_usd),
        rows=share_saving(report, costed, saved_usd),
    )


def _causes(report: LedgerReport, costed: CostedLedger, realtime_lane_usd: Decimal) -> tuple[LaneSpend, ...]:
    """Return what was paid by cause: machines of the real-time lane alone and its tokens, and the rest."""
    tokens = cost_sums(costed, ("lane", "use")).filter(
        (pl.col("use") == Use.TOKENS) & (pl.col("lane").cast(pl.String) == Lane.REALTIME)
    )
    realtime_usd = realtime_lane_usd + exact_usd(sum(tokens["picousd"].to_list()))
    return (
        LaneSpend(lane=Lane.REALTIME, paid_usd=realtime_usd),
        LaneSpend(lane=Lane.DEFERRABLE, paid_usd=report.paid_usd - realtime_usd),
    )


def _replaced(report: LedgerReport, **fields: object) -> LedgerReport:
    values = {name: getattr(report, name) for name in report.__struct_fields__}
    return LedgerReport(**(values | fields))


def _simulate(
    report: LedgerReport,
    costed: CostedLedger,
    options: CompareOptions,
    progress: Progress,
) -> _Simulated:
    ran = _replicas(report, costed)
    answered = _answered(costed.attempts)
    trace = read_trace(answered.with_columns(lost_tokens=pl.lit(0)), format="ledger")
    if len(trace.models) > 1:
        raise _NoClaimError(f"the engines served {len(trace.models)} models; only one can be simulated")
    model, _ = find_model_or_prices(facts.load(options.catalogs), options.model or only_model(trace))
    if model is None:
        raise _NoClaimError("the performance of the model is not known; name it with --model, or give --profile")
    options = _on_machine_of_ledger(options, costed.capacity)
    assigned = assign_workloads(trace, options)
    if assigned.span_s != trace.span_s:
        raise _NoClaimError("the ledger has long times without a request; choose a period with --from and --to")
    load = _within(assigned.load(options), trace.epoch_s or 0.0, costed.period)
    candidates = find_machines(facts.load(options.catalogs), model, load, options, progress)
    machine = _as_rented(candidates[0], ran)
    progress("simulating what ran")
    as_ran = _as_it_ran(machine, load, ran, costed.period.from_s)
    known = expected_accuracy(machine.profile)
    if known is None:
        raise _NoClaimError("the error of the performance profile was not measured")
    shorter, longer = _step_factors(known.factors(_LEVELS, options.seed), as_ran, answered)
    realtime = [
        search_realtime(load.all_realtime(), [machine.slowed(factor)], progress, title="real time alone").cheapest
        for factor in (1.0, shorter, longer)
    ]
    scale = float(ran.paid_usd) / as_ran.usd
    missed = max(scale, 1 / scale)
    costs_usd = [trial.usd * scale for trial in realtime]
    saved_usd, low_usd, high_usd = (
        round(Decimal(usd) - ran.paid_usd, 6)
        for usd in (costs_usd[0], min(costs_usd) / missed, max(costs_usd) * missed)
    )
    account = as_ran.result.pools[0]
    serving_s = max(account.paid_s - account.startup_s, 1e-9)
    return _Simulated(
        counterfactual=Counterfactual(
            arrangement=realtime[0].label,
            machine=machine.profile.replica.label,
            realtime_usd=realtime[0].usd,
            as_ran_usd=as_ran.usd,
            paid_usd=ran.paid_usd,
            busy_simulated=1 - account.idle_s / serving_s,
            busy_measured=ran.busy,
            basis=(
                f"steps of a replica from {shorter:.2f} to {longer:.2f} times as long: {known.basis}, and this ledger; "
                f"costs {format_share(missed - 1)} off, as that of what ran"
            ),
            assumptions=tuple(assumption.text for assumption in assigned.assumptions),
        ),
        saved_usd=saved_usd,
        interval_usd=(low_usd, high_usd) if low_usd < high_usd else None,
        realtime_lane_usd=min(_lane_alone(machine, load, progress, scale), ran.paid_usd),
    )


def _lane_alone(machine: CandidateMachine, load: TraceLoad, progress: Progress, scale: float) -> Decimal:
    """Return what the cheapest fleet of the real-time lane alone would cost, on the scale of what was paid."""
    deferrable = load.deferrable
    if deferrable.all():
        return Decimal(0)
    if not deferrable.any():
        return Decimal("Infinity")
    lane = load.select(~deferrable)
    fleets = search_realtime(lane, [machine], progress, title="real-time lane alone")
    return round(Decimal(fleets.cheapest.usd * scale), 6)


def _replicas(report: LedgerReport, costed: CostedLedger) -> _Ran:
    """Return the replicas that ran."""
    serving = [span for span in costed.paid if span.use is Use.BUSY]
    if not serving:
        raise _NoClaimError("nothing was paid by the time of a machine")
    paid = {use.use: use.paid_usd for use in report.by_use}
    busy_usd, idle_usd = paid[Use.BUSY], paid[Use.IDLE]
    by_hour_usd = report.paid_usd - paid[Use.TOKENS]
    paid_s = sum(span.end_us - span.start_us for span in costed.paid if span.use is not Use.UNUSED_COMMITMENT)
    rates = sum(
        span.picousd_per_hour * (span.end_us - span.start_us)
        for span in costed.paid
        if span.use is not Use.UNUSED_COMMITMENT
    )
    starting = Counter((span.venue, span.replica) for span in costed.paid if span.use is Use.STARTING)
    starting_us = sum(span.end_us - span.start_us for span in costed.paid if span.use is Use.STARTING)
    if not busy_usd + idle_usd:
        raise _NoClaimError("the machines cost nothing")
    return _Ran(
        spans=serving,
        paid_usd=by_hour_usd,
        busy=float(busy_usd / (busy_usd + idle_usd)),
        usd_per_hour=rates / paid_s / 1e12,
        startup_s=starting_us / _US_PER_S / len(starting) if starting else 0.0,
    )


def _answered(attempts: pl.DataFrame) -> pl.DataFrame:
    """Return the attempts by which machines answered, in order of arrival."""
    answered = attempts.filter(is_final() & (pl.col("use") == Use.BUSY) & (pl.col("output_tokens") > 0))
    if answered.is_empty():
        raise _NoClaimError("no request was answered on a machine")
    return answered.sort("arrived_s")


def _step_factors(of_profile: Floats, as_ran: Trial, answered: pl.DataFrame) -> tuple[float, float]:
    """Return how much shorter and longer steps may be: by the profile's errors, and by those on real-time requests."""
    measured = answered.filter(pl.col("lane").cast(pl.String) == Lane.REALTIME)
    measured_s = (measured["ended_s"] - measured["arrived_s"]).to_numpy()
    simulated_s = as_ran.e2e_s[~as_ran.load.deferrable]
    ratios = of_profile
    if len(measured_s) == len(simulated_s) >= _STRETCHES:
        of_rows = np.quantile(stretch_ratios(simulated_s, measured_s, _STRETCHES), _LEVELS)
        ratios = np.concatenate([of_profile, of_rows])
    return float(ratios.min()), float(ratios.max())


def _on_machine_of_ledger(options: CompareOptions, capacity: Sequence[PaidCapacity]) -> CompareOptions:
    """Return options with the hardware of the machine that the ledger names, unless a profile is given."""
    if options.profile:
        return options
    names = {(record.machine, record.pricing_model) for record in capacity}
    if len(names) > 1:
        raise _NoClaimError("the engines ran on several kinds of machines; give a --profile")
    (name, pricing_model) = names.pop()
    if not name:
        raise _NoClaimError(
            "the ledger does not say on what its engines ran; write machine for the venue, or --profile"
        )
    offer = find_machine(facts.load(options.catalogs), name, PricingModel(pricing_model))
    return replace(options, hardware=(offer.hardware,), providers=(offer.provider,), tp=options.tp or offer.gpus)


def _as_rented(machine: CandidateMachine, ran: _Ran) -> CandidateMachine:
    """Return a machine of one replica, at the price that was paid and with the start-up that was measured."""
    offer: Offer = replace(machine.offer, gpus=machine.profile.gpus, usd_per_hour=max(ran.usd_per_hour, 1e-9))
    return replace(machine, offer=offer, startup_s=ran.startup_s, startup_paid_s=ran.startup_s)


def _within(load: TraceLoad, epoch_s: float, period: Period) -> TraceLoad:
    """Return a load on the clock of the period, which lasts as long as the period."""
    shift_s = max(0.0, epoch_s - period.from_s)
    return replace(
        load,
        arrived_s=load.arrived_s + shift_s,
        deadline_s=load.deadline_s + shift_s,
        span_s=max(period.to_s - period.from_s, load.span_s + shift_s),
    )


def _as_it_ran(machine: CandidateMachine, load: TraceLoad, ran: _Ran, epoch_s: float) -> Trial:
    """Simulate the requests on as many replicas as served in each slot."""
    longest_s, shortest_s = (load.span_s / slots for slots in _SLOTS)
    slot_s = min(max(SECONDS_PER_MINUTE, shortest_s), longest_s)
    middles = epoch_s + (np.arange(max(1, int(np.ceil(load.span_s / slot_s)))) + 0.5) * slot_s
    starts = np.sort([span.start_us / _US_PER_S for span in ran.spans])
    ends = np.sort([span.end_us / _US_PER_S for span in ran.spans])
    serving = np.searchsorted(starts, middles, side="right") - np.searchsorted(ends, middles, side="right")
    serving[-1] = max(serving[-1], 1)
    scaling = Scheduled(instances=tuple(serving.tolist()), slot_s=slot_s, ahead_s=machine.startup_s)
    return simulate_fleet(
        "as_ran",
        "as it ran",
        load,
        ((machine, machine.pool(scaling, realtime=True, backfill=_backfill(machine, load))),),
        decision_s=min(DECISION_S, slot_s),
    )


def _backfill(machine: CandidateMachine, load: TraceLoad) -> BackfillLimits | None:
    if not load.deferrable.any():
        return None
    if load.deferrable.all():
        return unrestricted_backfill(machine.limits)
    largest = max_backfill(machine, load)
    if not largest.sequences:
        raise InfeasibleError("no deferrable request fits beside real-time ones", fix="loosen the SLO with --slo")
    return largest


def _drift(simulated: Counterfactual) -> str:
    """Return in which figure the simulation is too far from what was; empty if in none."""
    pairs = (
        ("cost", simulated.as_ran_usd, float(simulated.paid_usd)),
        ("busy share", simulated.busy_simulated, simulated.busy_measured),
    )
    for name, as_simulated, measured in pairs:
        error = abs(as_simulated / measured - 1) if measured else float("inf")
        if error > MAX_DRIFT:
            shares = f"{as_simulated:.3g} instead of {measured:.3g}"
            return f"the simulation of what ran has a {name} of {shares}, more than {format_share(MAX_DRIFT)} from it"
    return ""
