"""The simulator's door: requests and a fleet in, timings and paid time out."""

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import InfeasibleError
from meritorder.latency import tpot_s
from meritorder.sim import fleet as kernel
from meritorder.sim.layout import lay_out, stabilization_ticks
from meritorder.sim.pools import Autoscaled, PoolAccount, QueueScaled, Requests, Routing, Scheduled, SimPool, SimResult
from meritorder.sim.state import (
    MOST_ACCESSES,
    MOST_BLOCK_TOKENS,
    MOST_CEILINGS,
    MOST_LIVES,
    MOST_SEQS,
    MOST_SLOTS,
    MOST_STEP_TOKENS,
    STABILIZATION_TICKS,
    Floats,
    World,
)


def simulate(
    requests: Requests,
    pools: tuple[SimPool, ...],
    *,
    horizon_s: float,
    tick_s: float = 15.0,
    bin_s: float = 900.0,
    preempt: bool = False,
    routing: Routing = Routing.LEAST_REQUESTS,
    local_prefixes: bool = False,
) -> SimResult:
    """Serve all requests with a fleet; the cost grows with requests, not with tokens.

    Args:
        requests: What is to be served.
        pools: The fleet, in merit order: deferrable work goes to the first with room.
        horizon_s: Until when instances that are always on are paid for.
        tick_s: How often scaling is decided.
        bin_s: Width of the bins of the time line.
        preempt: Real-time requests take the seat of deferrable ones when there is none left.
        routing: How real-time requests are spread.
        local_prefixes: A cached prefix is found only on the replica that served its session last.

    Raises:
        InfeasibleError: A request is longer than the memory of a replica, nobody serves a lane, or a limit is too high.
    """
    _check(requests, pools, tick_s)
    world = lay_out(requests, pools, horizon_s, tick_s, bin_s)
    world.state["preempt"], world.state["routing"] = preempt, routing
    world.state["local_prefixes"] = local_prefixes
    end_s = kernel.run(world)
    overhead_s = _overhead_s(world, pools)
    return SimResult(
        admitted_s=world.requests["admitted_s"].copy(),
        first_token_s=world.requests["first_token_s"] + overhead_s,
        finished_s=world.requests["finished_s"] + overhead_s,
        replica=world.requests["replica"].copy(),
        attempts=world.requests["attempts"].copy(),
        pools=tuple(_account(pool) for pool in world.pools),
        preemptions=int(world.state["preemptions"][0]),
        end_s=end_s,
        bin_s=bin_s,
        realtime_bins_s=world.bins[:, 0],
        deferrable_bins_s=world.bins[:, 1],
        capacity_bins_s=world.bins[:, 2],
    )


def _overhead_s(world: World, pools: tuple[SimPool, ...]) -> Floats:
    """Return what each request waits before the engine: a time, one for each token, and some of its decode steps."""
    by_pool_s = np.array([pool.profile.request_overhead_s for pool in pools])
    by_token_s = np.array([pool.profile.prompt_token_overhead_s for pool in pools])
    steps = np.array([pool.profile.first_token_steps for pool in pools])
    requests = world.requests
    pool = world.replicas["pool"][requests["replica"]]
    step_s = np.nan_to_num(tpot_s(requests["finished_s"], requests["first_token_s"], requests["output_tokens"]))
    fixed_s = by_pool_s[pool] + by_token_s[pool] * requests["input_tokens"]
    return np.asarray(fixed_s + steps[pool] * step_s)


def _check(requests: Requests, pools: tuple[SimPool, ...], tick_s: float) -> None:
    cached = requests.input_tokens.astype(np.int64) + requests.output_tokens - 1  # the last token is never read
    access = np.zeros(len(requests), np.int32) if requests.access is None else requests.access
    longest = np.zeros(int(access.max(initial=0)) + 1, np.int64)
    np.maximum.at(longest, access, cached)
    if len(longest) > MOST_ACCESSES:
        raise InfeasibleError(f"accesses: {len(longest):,} are more than {MOST_ACCESSES:,}")
    for pool in pools:
        _check_memory(pool, max((int(longest[each]) for each in pool.permitted if each < len(longest)), default=0))
        _check_limits(pool, tick_s)
    deferrable = np.isfinite(requests.latest_start_s)
    for each in range(len(longest)):
        mine = deferrable[access == each]
        serving = [pool for pool in pools if pool.most_instances and each in pool.permitted]
        realtime = any(pool.realtime for pool in serving)
        if not mine.all() and not realtime:
            raise InfeasibleError(f"no pool takes real-time requests{_of(each, longest)}")
        if mine.any() and not realtime and not any(pool.takes_deferrable for pool in serving):
            raise InfeasibleError(f"no pool takes deferrable requests{_of(each, longest)}")


def _check_memory(pool: SimPool, longest: int) -> None:
    block_tokens = pool.limits.block_tokens
    held = pool.profile.kv_capacity_tokens // block_tokens * block_tokens
    if longest > held:
        raise InfeasibleError(
            f"a request needs memory for {longest:,} tokens, but memory holds {held:,}",
            where=pool.profile.replica.label,
            fix="use more GPUs a replica (--tp), or hardware with more memory",
        )


def _of(access: int, longest: NDArray[np.int64]) -> str:
    return f" of access {access}" if len(longest) > 1 else ""


def _check_limits(pool: SimPool, tick_s: float) -> None:
    limits, where = pool.limits, pool.profile.replica.label
    bounds = [
        ("sequences in a step (max_num_seqs)", limits.max_num_seqs, MOST_SEQS),
        ("tokens in a step (max_num_batched_tokens)", limits.max_num_batched_tokens, MOST_STEP_TOKENS),
        ("tokens of a block (block_tokens)", limits.block_tokens, MOST_BLOCK_TOKENS),
    ]
    if isinstance(pool.scaling, Scheduled):
        bounds.append(("slots of a schedule", len(pool.scaling.instances), MOST_SLOTS))
    if pool.interruptions:
        bounds.append(("changes of the ceiling and one", len(pool.interruptions.ceiling) + 1, MOST_CEILINGS + 1))
        bounds.append(("lives of instances and one", len(pool.interruptions.lives_s) + 1, MOST_LIVES + 1))
    if isinstance(pool.scaling, Autoscaled | QueueScaled):
        bounds.append(("ticks of stabilisation", stabilization_ticks(pool.scaling, tick_s), STABILIZATION_TICKS))
    for what, value, most in bounds:
        if not 1 <= value <= most:
            raise InfeasibleError(f"{what}: {value:,} is not from 1 to {most:,}", where=where)
    if limits.max_num_batched_tokens <= limits.max_num_seqs:
        raise InfeasibleError("a step must hold more tokens than sequences", where=where)
    slots = len(pool.scaling.instances) if isinstance(pool.scaling, Scheduled) else 0
    if pool.backfill_shares and len(pool.backfill_shares) != slots:
        raise InfeasibleError(f"{len(pool.backfill_shares)} shares of backfill for {slots} slots", where=where)
    if not all(0 < share <= 1 for share in pool.backfill_shares):
        raise InfeasibleError("a share of backfill is more than 0 and at most 1", where=where)


def _account(pool: np.void) -> PoolAccount:
    used_s = pool["realtime_s"] + pool["deferrable_s"] + pool["startup_spent_s"] + pool["lost_s"]
    return PoolAccount(
        paid_s=float(pool["paid_s"]),
        realtime_s=float(pool["realtime_s"]),
        deferrable_s=float(pool["deferrable_s"]),
        startup_s=float(pool["startup_spent_s"]),
        idle_s=float(pool["paid_s"] - used_s),
        lost_s=float(pool["lost_s"]),
        peak_instances=int(pool["peak_instances"]),
        interruptions=int(pool["interruptions"]),
    )
