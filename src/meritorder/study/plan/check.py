"""A plan carried out in the simulator, request by request: what it costs, and whether it keeps its promises.

It reads the plan file alone, so that what `plan` reports, `simulate --plan` finds again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder import planfile
from meritorder.domain import BackfillLimits, TokenPrice
from meritorder.latency import breaks_slo, tpot_s
from meritorder.policy.schedule import spread_evenly
from meritorder.sim.pools import Interruptions, PoolAccount, Scheduled, SimPool, SimResult
from meritorder.sim.run import simulate
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.plan.demand import classes_of, usd_of
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LIVES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRun:
    """What became of one model's requests.

    Args:
        load: Those that ran on machines.
        result: The simulation; None if nothing ran on machines.
        schedules: The schedules, one for each pool of the simulation.
        accounts: What was paid in each.
        bought: Requests that were bought as tokens.
        tokens_usd: What they cost, by venue.
    """

    load: TraceLoad
    result: SimResult | None
    schedules: tuple[planfile.PoolSchedule, ...]
    accounts: tuple[PoolAccount, ...]
    bought: int
    tokens_usd: dict[str, float]

    @property
    def ttft_s(self) -> Floats:
        """Time to first token, nan for what was never served, shape (requests,)."""
        if self.result is None:
            return np.full(len(self.load), np.nan)
        return np.asarray(self.result.first_token_s - self.load.arrived_s)

    @property
    def tpot_s(self) -> Floats:
        """Time per output token after the first, nan at one token, shape (requests,)."""
        if self.result is None:
            return np.full(len(self.load), np.nan)
        return tpot_s(self.result.finished_s, self.result.first_token_s, self.load.output_tokens)

    @property
    def broken(self) -> Bools:
        """Which real-time requests broke the SLO, shape (requests,)."""
        load = self.load
        return ~load.deferrable & breaks_slo(self.ttft_s, self.tpot_s, load.ttft_limit_s, load.tpot_limit_s)

    @property
    def missed(self) -> int:
        """Requests that may wait and were late, or never done."""
        finished_s = np.full(len(self.load), np.nan) if self.result is None else self.result.finished_s
        return int(np.count_nonzero(self.load.deferrable & ~(finished_s <= self.load.deadline_s)))

    @property
    def attained(self) -> bool:
        """Whether each workload's SLO is kept."""
        return self.load.slo_attainment(self.ttft_s, self.tpot_s)[1]


def carry_out(
    plan: planfile.Plan,
    loads: Mapping[str, TraceLoad],
    machines: Mapping[str, CandidateMachine],
    prices: Mapping[str, TokenPrice],
    *,
    seed: int = 0,
) -> tuple[planfile.PlanOutcome, dict[str, ModelRun]]:
    """Simulate a plan.

    Args:
        plan: The plan.
        loads: Requests by model.
        machines: Replica of each pool, by the pool's name.
        prices: Token prices, by the name of the venue.
        seed: Of the lives of spot machines.

    Returns:
        What became of it, and of each model.
    """
    runs = {
        model: _run(plan, model, load, machines=machines, prices=prices, seed=seed) for model, load in loads.items()
    }
    return _judge(plan, loads, runs, machines), runs


def _run(
    plan: planfile.Plan,
    model: str,
    load: TraceLoad,
    *,
    machines: Mapping[str, CandidateMachine],
    prices: Mapping[str, TokenPrice],
    seed: int,
) -> ModelRun:
    bought, tokens_usd = _bought(plan, model, load, prices)
    rest = load.select(~bought) if bought.any() else load
    pools = {pool.name: pool for pool in plan.pools if pool.model == model}
    schedules = tuple(one for one in plan.schedule if one.pool in pools and max(one.machines))
    # Work that may wait goes to machines of its own before it goes into the gaps of real time.
    schedules = tuple(sorted(schedules, key=lambda one: one.realtime))
    result = None
    if len(rest) and schedules:
        sim_pools = tuple(
            _pool(one, pools[one.pool], machines[one.pool], plan.slot_s, seed=seed + place, load=rest)
            for place, one in enumerate(schedules)
        )
        last = machines[schedules[-1].pool]
        result = simulate(
            rest.requests(last.work_s(rest), last.residence_s(rest)),
            sim_pools,
            horizon_s=plan.slots * plan.slot_s,
            bin_s=900.0 if load.span_s >= SECONDS_PER_DAY else SECONDS_PER_MINUTE,
        )
    return ModelRun(
        load=rest,
        result=result,
        schedules=schedules,
        accounts=result.pools if result else (),
        bought=int(bought.sum()),
        tokens_usd=tokens_usd,
    )


def _pool(
    one: planfile.PoolSchedule,
    pool: planfile.PlanPool,
    machine: CandidateMachine,
    slot_s: float,
    *,
    seed: int,
    load: TraceLoad,
) -> SimPool:
    mixed = one.realtime
    whole = BackfillLimits(sequences=pool.max_num_seqs, prefill_tokens=pool.max_num_batched_tokens, kv_share=1.0)
    permits = [access.permits(pool.provider, pool.region, pool.hardware) for access in load.accesses]
    return SimPool(
        profile=machine.profile,
        scaling=Scheduled(instances=tuple(one.machines), slot_s=slot_s, ahead_s=pool.startup_s),
        limits=machine.limits,
        replicas_per_instance=pool.replicas,
        realtime=mixed,
        backfill=pool.backfill if mixed else whole,
        backfill_shares=tuple(pool.backfill_shares) if mixed else (),
        startup_s=pool.startup_s,
        startup_paid_s=pool.startup_paid_s,
        minimum_billing_s=one.minimum_billing_s,
        interruptions=_interruptions(one, seed),
        permits=frozenset(np.flatnonzero(permits).tolist()),
    )


def _interruptions(one: planfile.PoolSchedule, seed: int) -> Interruptions | None:
    """Draw the lives of machines that are taken back at a stated rate."""
    if one.interruptions_per_hour <= 0:
        return None
    mean_s = SECONDS_PER_HOUR / one.interruptions_per_hour
    return Interruptions(lifetimes_s=tuple(np.random.default_rng(seed).exponential(mean_s, _LIVES).tolist()))


def _bought(
    plan: planfile.Plan, model: str, load: TraceLoad, prices: Mapping[str, TokenPrice]
) -> tuple[Bools, dict[str, float]]:
    """Return which requests the plan buys as tokens, and what they cost by venue."""
    bought = np.zeros(len(load), np.bool_)
    usd: dict[str, float] = {}
    if not any(route.kind == "tier" for route in plan.routes):
        return bought, usd
    routes: dict[str, list[planfile.PlanRoute]] = {}
    for route in plan.routes:
        routes.setdefault(route.workload, []).append(route)
    several = len({pool.model for pool in plan.pools}) > 1 or (plan.promises is not None and not plan.promises.model)
    for each in classes_of(load, plan.slot_s, model if several else ""):
        mine = routes.get(each.name, [])
        if not any(route.kind == "tier" for route in mine):
            continue
        slot = _served_in(plan, mine, load, each.members, deferrable=each.deferrable)
        flows = np.array([route.flow for route in mine])
        shares = np.divide(flows, flows.sum(axis=0), out=np.zeros_like(flows), where=flows.sum(axis=0) > 0)
        upper = np.cumsum(shares, axis=0)[:, slot]
        place = spread_evenly(np.arange(len(each.members), dtype=np.float64))
        choice = np.minimum((place >= upper).sum(axis=0), len(mine) - 1)
        for index, route in enumerate(mine):
            members = each.members[choice == index]
            if route.kind == "tier" and len(members):
                bought[members] = True
                usd[route.venue] = usd.get(route.venue, 0.0) + float(usd_of(prices[route.venue], load, members).sum())
    return bought, usd


def _served_in(
    plan: planfile.Plan,
    routes: list[planfile.PlanRoute],
    load: TraceLoad,
    members: NDArray[np.int64],
    *,
    deferrable: bool,
) -> NDArray[np.int64]:
    """Return the slot in which the plan serves each request: its own, or first come first served from the backlog."""
    own = np.minimum((load.arrived_s[members] / plan.slot_s).astype(np.int64), plan.slots - 1)
    if not deferrable:
        return own
    served = np.cumsum(np.sum([route.flow for route in routes], axis=0))
    weight = np.cumsum(load.input_tokens[members] + load.output_tokens[members].astype(float))
    position = weight / weight[-1] * served[-1]
    slot = np.minimum(np.searchsorted(served, position * (1 - 1e-9)), plan.slots - 1)
    return np.asarray(np.maximum(slot, own), np.int64)


def _judge(
    plan: planfile.Plan,
    loads: Mapping[str, TraceLoad],
    runs: Mapping[str, ModelRun],
    machines: Mapping[str, CandidateMachine],
) -> planfile.PlanOutcome:
    usd_by_pool: dict[str, float] = {}
    missed, kept, in_time, realtime = 0, True, 0.0, 0
    ttft, tpot = [np.zeros(0)], [np.zeros(0)]
    work_s = paid_s = 0.0
    for run in runs.values():
        for one, account in zip(run.schedules, run.accounts, strict=True):
            name = f"{one.pool}, {one.payment}"
            usd_by_pool[name] = usd_by_pool.get(name, 0.0) + _usd(plan, one, account)
            paid_s += account.paid_s
            work_s += _work_s(run, machines[one.pool], account)
        lane = ~run.load.deferrable
        ttft.append(run.ttft_s[lane])
        tpot.append(run.tpot_s[lane])
        missed += run.missed
        kept = kept and run.attained
        realtime += int(lane.sum())
        in_time += (run.load.slo_attainment(run.ttft_s, run.tpot_s)[0] or 0.0) * int(lane.sum())
    commitments_usd = sum(one.usd for one in plan.commitments)
    tokens_usd = sum(sum(run.tokens_usd.values()) for run in runs.values())
    return planfile.PlanOutcome(
        total_usd=sum(usd_by_pool.values()) + commitments_usd + tokens_usd,
        slo_attainment=in_time / realtime if realtime else None,
        deadlines_missed=missed,
        requests=sum(len(load) for load in loads.values()),
        kept=kept and missed == 0,
        utilization=work_s / paid_s if paid_s else None,
        ttft_p99_s=_quantile(np.concatenate(ttft)),
        tpot_p99_s=_quantile(np.concatenate(tpot)),
        interruptions=sum(account.interruptions for run in runs.values() for account in run.accounts),
        tokens_usd=tokens_usd,
        carbon_usd=sum(_carbon_usd(plan, run) for run in runs.values()),
        usd_by_pool=usd_by_pool,
    )


def _usd(plan: planfile.Plan, one: planfile.PoolSchedule, account: PoolAccount) -> float:
    """Return what a schedule cost: all that was paid for at its price, less what savings plans take off as planned."""
    if one.pricing_model in planfile.PREPAID:
        return 0.0
    pool = next(pool for pool in plan.pools if pool.name == one.pool)
    return account.paid_s / pool.replicas / SECONDS_PER_HOUR * one.usd_per_hour - one.saved_usd


def _carbon_usd(plan: planfile.Plan, run: ModelRun) -> float:
    """Return the price of the carbon of all machine time that was paid for, when it was."""
    if run.result is None:
        return 0.0
    usd, pools = 0.0, {pool.name: pool for pool in plan.pools}
    begin_s = np.arange(run.result.capacity_bins_s.shape[1]) * run.result.bin_s
    slot = np.minimum((begin_s / plan.slot_s).astype(np.int64), plan.slots - 1)
    for one, paid_s in zip(run.schedules, run.result.capacity_bins_s, strict=True):
        pool = pools[one.pool]
        if pool.carbon_usd_per_hour:
            price = np.asarray(pool.carbon_usd_per_hour)[slot]
            usd += float(price @ paid_s) / pool.replicas / SECONDS_PER_HOUR
    return usd


def _work_s(run: ModelRun, machine: CandidateMachine, account: PoolAccount) -> float:
    """Return the work that a pool did, in seconds of its full replicas, by its share of each lane's time."""
    done_s = 0.0
    lanes = (
        (~run.load.deferrable, account.realtime_s, sum(each.realtime_s for each in run.accounts)),
        (run.load.deferrable, account.deferrable_s, sum(each.deferrable_s for each in run.accounts)),
    )
    work_s = machine.work_s(run.load)
    for members, mine_s, all_s in lanes:
        if mine_s > 0:
            done_s += mine_s / all_s * float(work_s[members].sum())
    return done_s


def _quantile(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, 0.99)) if len(known) else None
