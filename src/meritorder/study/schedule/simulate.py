"""Simulation of a plan request by request: its cost, and whether it keeps its promises.

It sees only what the plan file records, so that `simulate --plan` reproduces what `plan` reports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder.domain import BackfillLimits
from meritorder.latency import breaks_slo, quantile
from meritorder.offers import TokenPrice
from meritorder.policy.replicas import DECISION_S
from meritorder.records import planfile
from meritorder.records.planpolicy import Policy
from meritorder.sim.pools import (
    Autoscaled,
    DeadlineScaled,
    PoolAccount,
    Scaling,
    SimPool,
    SimResult,
)
from meritorder.sim.run import simulate
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.spot import draw_interruptions
from meritorder.study.schedule.demand import slot_index, workload_names
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.token_purchases import buy_tokens
from meritorder.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_TICKS: Final = 60  # of a slot of a schedule: 15 seconds of a quarter of an hour


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutcome:
    """The outcome of a plan for the requests of one model.

    Args:
        requests: Number of requests.
        load: Those that ran on machines.
        result: Their simulation; None if nothing ran on machines.
        schedules: The simulated schedules, one for each pool of the simulation.
        accounts: Paid time of each.
        tokens_usd: Cost of the requests that were bought as tokens, by venue.
    """

    requests: int
    load: TraceLoad
    result: SimResult | None
    schedules: tuple[planfile.PoolSchedule, ...]
    accounts: tuple[PoolAccount, ...]
    tokens_usd: dict[str, float]

    @property
    def latencies(self) -> tuple[Floats, Floats]:
        """TTFT and TPOT of each request; nan if it was never served; shapes (requests,)."""
        if self.result is None:
            unserved = np.full(len(self.load), np.nan)
            return unserved, unserved
        return self.load.latencies(self.result)

    @property
    def violations(self) -> Bools:
        """Which real-time requests broke the SLO, shape (requests,)."""
        ttft_s, tpot_s = self.latencies
        late = breaks_slo(ttft_s, tpot_s, self.load.ttft_limit_s, self.load.tpot_limit_s)
        return ~self.load.deferrable & late

    @property
    def missed_deadlines(self) -> int:
        """Number of deferrable requests that were late or never done."""
        finished_s = np.full(len(self.load), np.nan) if self.result is None else self.result.finished_s
        return self.load.deadlines_missed(finished_s)

    @property
    def attained(self) -> bool:
        """Whether the SLO of each workload is kept."""
        return self.load.slo_attainment(*self.latencies)[1]


def simulate_plan(
    plan: ExecutablePlan,
    loads: Mapping[str, TraceLoad],
    machines: Mapping[str, CandidateMachine],
    prices: Mapping[str, TokenPrice],
    *,
    seed: int = 0,
) -> tuple[planfile.PlanOutcome, dict[str, ModelOutcome]]:
    """Simulate a plan and return its outcome, as a whole and by model.

    Args:
        plan: The plan.
        loads: Requests by model.
        machines: Replica of each pool, by the pool's name.
        prices: Token prices by venue.
        seed: Seed of the lifetimes of spot machines.
    """
    outcomes = {
        model: _simulate_model(plan, model, load, machines=machines, prices=prices, seed=seed)
        for model, load in loads.items()
    }
    return total_outcome(plan, outcomes, machines), outcomes


def _tick_s(plan: ExecutablePlan) -> float:
    """Return the time between decisions: a schedule of short slots is followed more exactly than a load."""
    follows_clock = plan.policy is None and not plan.scalings
    return min(DECISION_S, plan.slot_s / _TICKS) if follows_clock else DECISION_S


def _simulate_model(
    plan: ExecutablePlan,
    model: str,
    load: TraceLoad,
    *,
    machines: Mapping[str, CandidateMachine],
    prices: Mapping[str, TokenPrice],
    seed: int,
) -> ModelOutcome:
    named = model if plan.several_models else ""
    bought, usd_by_venue = buy_tokens(plan.routes, load.on_trace_clock, prices, slot_s=plan.slot_s, model=named)
    on_machines = load.select(~bought) if bought.any() else load
    # The shares of backfill are those of the slots of the schedule, which a policy does not follow.
    by_slot = plan.policy is None
    pools = {
        pool.name: pool if by_slot else structs.replace(pool, backfill_shares=[])
        for pool in plan.pools
        if pool.model == model
    }
    scalings = [
        (row, plan.scaling(row, pools[row.pool].startup_s, load.begin_s)) for row in plan.schedule if row.pool in pools
    ]
    scaled = [(row, scaling) for row, scaling in scalings if scaling is not None]
    scaled.sort(key=lambda pair: _merit(*pair))
    schedules = [row for row, _ in scaled]
    result = None
    if len(on_machines) and schedules:
        sim_pools = tuple(
            _sim_pool(row, _sharing(index, scaled), pools[row.pool], machines[row.pool], seed=seed, load=on_machines)
            for index, (row, _) in enumerate(scaled)
        )
        last = machines[schedules[-1].pool]
        served = on_machines
        if plan.policy is not None:
            waits, at_once = plan.policy.defer, plan.policy.at_once
            served = served.at_once([not waits or name in at_once for name in workload_names(load, named)])
        result = simulate(
            served.requests(last.work_s(served), last.residence_s(served)),
            sim_pools,
            horizon_s=load.span_s,
            bin_s=load.bin_s,
            tick_s=_tick_s(plan),
        ).delayed(load.begin_s)
    return ModelOutcome(
        requests=len(load),
        load=on_machines.on_trace_clock,
        result=result,
        schedules=tuple(schedules) if result else (),
        accounts=result.pools if result else (),
        tokens_usd=usd_by_venue,
    )


def _sharing(number: int, scaled: Sequence[tuple[planfile.PoolSchedule, Scaling]]) -> Scaling:
    """Return a row's scaling; a reactive one counts the load of the same pool under its other payments."""
    own, scaling = scaled[number]
    if not isinstance(scaling, Autoscaled):
        return scaling
    beside = [index for index, (row, _) in enumerate(scaled) if row.pool == own.pool and index != number]
    return replace(scaling, beside=tuple(index for index in beside if _serves_realtime(*scaled[index])))


def _merit(schedule: planfile.PoolSchedule, scaling: Scaling) -> int:
    """Return the place in the merit order of deferrable work: its scheduled machines, gaps of real time, its own."""
    return 2 if isinstance(scaling, DeadlineScaled) else int(_serves_realtime(schedule, scaling))


def _serves_realtime(schedule: planfile.PoolSchedule, scaling: Scaling) -> bool:
    """Whether machines serve real-time requests: those that these start do, those that a backlog starts do not."""
    return isinstance(scaling, Autoscaled) or (schedule.realtime and not isinstance(scaling, DeadlineScaled))


def _sim_pool(
    schedule: planfile.PoolSchedule,
    scaling: Scaling,
    pool: planfile.PlanPool,
    machine: CandidateMachine,
    *,
    seed: int,
    load: TraceLoad,
) -> SimPool:
    realtime = _serves_realtime(schedule, scaling)
    unrestricted = BackfillLimits(sequences=pool.max_num_seqs, prefill_tokens=pool.max_num_batched_tokens, kv_share=1.0)
    permits = [access.permits(pool.provider, pool.region, pool.hardware) for access in load.accesses]
    return SimPool(
        profile=machine.profile,
        scaling=scaling,
        limits=machine.limits,
        replicas_per_instance=pool.replicas,
        realtime=realtime,
        backfill=pool.backfill if realtime else unrestricted,
        backfill_shares=tuple(pool.backfill_shares) if realtime else (),
        startup_s=pool.startup_s,
        startup_paid_s=pool.startup_paid_s,
        minimum_billing_s=schedule.minimum_billing_s,
        interruptions=draw_interruptions(
            schedule.interruptions_per_hour, f"{machine.profile.replica.label} {schedule.payment}", seed
        ),
        permits=frozenset(np.flatnonzero(permits).tolist()),
    )


def total_outcome(
    plan: ExecutablePlan, outcomes: Mapping[str, ModelOutcome], machines: Mapping[str, CandidateMachine]
) -> planfile.PlanOutcome:
    """Return the outcome of a plan as a whole.

    Args:
        plan: The plan.
        outcomes: Its outcome by model.
        machines: Replica of each pool, by the pool's name.
    """
    usd_by_pool: dict[str, float] = {}
    missed, kept, in_time, realtime = 0, True, 0.0, 0
    ttfts, tpots = [np.zeros(0)], [np.zeros(0)]
    work_s = paid_s = 0.0
    for outcome in outcomes.values():
        for schedule, account in zip(outcome.schedules, outcome.accounts, strict=True):
            name = f"{schedule.pool}, {schedule.payment}"
            usd_by_pool[name] = usd_by_pool.get(name, 0.0) + _usd(plan, schedule, account)
            paid_s += account.paid_s
            work_s += _work_s(outcome, machines[schedule.pool], account)
        lane = ~outcome.load.deferrable
        ttft_s, tpot_s = outcome.latencies
        ttfts.append(ttft_s[lane])
        tpots.append(tpot_s[lane])
        share, attained = outcome.load.slo_attainment(ttft_s, tpot_s)
        kept = kept and attained
        missed += outcome.missed_deadlines
        realtime += int(lane.sum())
        in_time += (share or 0.0) * int(lane.sum())
    commitments_usd = sum(bought.usd for bought in plan.commitments)
    usd_of_tokens = sum((sum(outcome.tokens_usd.values()) for outcome in outcomes.values()), start=0.0)
    return planfile.PlanOutcome(
        total_usd=sum(usd_by_pool.values()) + commitments_usd + usd_of_tokens,
        slo_attainment=in_time / realtime if realtime else None,
        deadlines_missed=missed,
        requests=sum(outcome.requests for outcome in outcomes.values()),
        kept=kept and missed == 0,
        utilization=work_s / paid_s if paid_s else None,
        ttft_p99_s=quantile(np.concatenate(ttfts), 0.99),
        tpot_p99_s=quantile(np.concatenate(tpots), 0.99),
        interruptions=sum(account.interruptions for outcome in outcomes.values() for account in outcome.accounts),
        tokens_usd=usd_of_tokens,
        carbon_usd=sum(_carbon_usd(plan, outcome) for outcome in outcomes.values()),
        usd_by_pool=usd_by_pool,
        above_floor_usd=None
        if plan.policy is None
        else sum(_above_floor_usd(plan, plan.policy, outcome) for outcome in outcomes.values()),
    )


def _above_floor_usd(plan: ExecutablePlan, policy: Policy, outcome: ModelOutcome) -> float:
    """Return the cost of the paid machine time beyond the floor, a start-up ahead, bin by bin."""
    if outcome.result is None:
        return 0.0
    usd, bin_s, first_bin_s = 0.0, outcome.result.bin_s, outcome.result.first_bin_s
    times_s = np.arange(first_bin_s, plan.span_s, DECISION_S)
    for schedule, paid_s in zip(outcome.schedules, outcome.result.capacity_bins_s, strict=True):
        if schedule.pricing_model in planfile.PREPAID:
            continue
        pool = next(pool for pool in plan.pools if pool.name == schedule.pool)
        floor = np.asarray(policy.rules_of(schedule.pool, schedule.payment).floor or [0])
        now, ahead = ((times_s + s) // policy.slot_s for s in (0.0, pool.startup_s))
        machines = np.maximum(floor[now.astype(int) % len(floor)], floor[ahead.astype(int) % len(floor)])
        bins = np.minimum(((times_s - first_bin_s) / bin_s).astype(int), len(paid_s) - 1)
        floor_s = np.bincount(bins, machines * DECISION_S, len(paid_s)) * pool.replicas
        added_s = float(np.maximum(paid_s - floor_s, 0.0).sum()) / pool.replicas
        usd += added_s / SECONDS_PER_HOUR * schedule.usd_per_hour
    return usd


def _usd(plan: ExecutablePlan, schedule: planfile.PoolSchedule, account: PoolAccount) -> float:
    """Return the cost of a schedule: paid time at its price, less the planned discount of savings plans."""
    if schedule.pricing_model in planfile.PREPAID:
        return 0.0
    pool = next(pool for pool in plan.pools if pool.name == schedule.pool)
    return account.paid_s / pool.replicas / SECONDS_PER_HOUR * schedule.usd_per_hour - schedule.saved_usd


def _carbon_usd(plan: ExecutablePlan, outcome: ModelOutcome) -> float:
    """Return the carbon price of all paid machine time, at the price of its slot."""
    if outcome.result is None:
        return 0.0
    usd, pools = 0.0, {pool.name: pool for pool in plan.pools}
    bins_s = outcome.result.capacity_bins_s
    slot = slot_index(outcome.result.bin_starts_s, plan.slot_s, plan.slots)
    for schedule, paid_s in zip(outcome.schedules, bins_s, strict=True):
        pool = pools[schedule.pool]
        if pool.carbon_usd_per_hour:
            price = np.asarray(pool.carbon_usd_per_hour)[slot]
            usd += float(price @ paid_s) / pool.replicas / SECONDS_PER_HOUR
    return usd


def _work_s(outcome: ModelOutcome, machine: CandidateMachine, account: PoolAccount) -> float:
    """Return the work that a pool did in seconds of its saturated replicas: its share of each lane's time."""
    done_s = 0.0
    deferrable = outcome.load.deferrable
    lanes = (
        (~deferrable, account.realtime_s, sum(other.realtime_s for other in outcome.accounts)),
        (deferrable, account.deferrable_s, sum(other.deferrable_s for other in outcome.accounts)),
    )
    work_s = machine.work_s(outcome.load)
    for members, own_s, all_s in lanes:
        if own_s > 0:
            done_s += own_s / all_s * float(work_s[members].sum())
    return done_s
