"""Simulate a fleet: check the arguments, run the kernel, and return timings and accounts."""

from typing import Final

import numpy as np

from meritorder.errors import InfeasibleError
from meritorder.latency import tpot_s
from meritorder.policy.replicas import DECISION_S, recommendations_kept
from meritorder.sim.fleet import serve_all
from meritorder.sim.layout import initial_state
from meritorder.sim.pools import Autoscaled, PoolAccount, Requests, Scheduled, SimPool, SimResult, SloLimits
from meritorder.sim.state import (
    MAX_ACCESSES,
    MAX_BACKFILL_SLOTS,
    MAX_BLOCK_TOKENS,
    MAX_CEILINGS,
    MAX_LIFETIMES,
    MAX_SEQS,
    MAX_SLOTS,
    MAX_STEP_TOKENS,
    STABILIZATION_TICKS,
    Floats,
    KernelState,
)

THREADS: Final = 2
"""Simulations that a search runs at once; their kernel releases the interpreter's lock."""


def simulate(
    requests: Requests,
    pools: tuple[SimPool, ...],
    *,
    horizon_s: float,
    tick_s: float = DECISION_S,
    bin_s: float = 900.0,
    limits: SloLimits | None = None,
) -> SimResult:
    """Serve all requests with a fleet; run time grows with requests, not with tokens.

    Args:
        requests: The requests.
        pools: The fleet, in merit order: deferrable work goes to the first pool with capacity.
        horizon_s: End of the time for which instances that are always on are paid.
        tick_s: Time between scaling decisions.
        bin_s: Width of a time bin of the result.
        limits: End early once more requests than may have broken their SLO; None serves all in any case.

    Raises:
        InfeasibleError: A request is longer than a replica's memory, no pool serves a lane, or a limit is exceeded.
    """
    _check(requests, pools, tick_s)
    kernel = initial_state(requests, pools, limits, horizon_s=horizon_s, tick_s=tick_s, bin_s=bin_s)
    end_s = serve_all(kernel)
    overhead_s = _overhead_s(kernel, pools)
    return SimResult(
        admitted_s=kernel.requests["admitted_s"].copy(),
        first_token_s=kernel.requests["first_token_s"] + overhead_s,
        finished_s=kernel.requests["finished_s"] + overhead_s,
        replica=kernel.requests["replica"].copy(),
        attempts=kernel.requests["attempts"].copy(),
        pools=tuple(_account(pool) for pool in kernel.pools),
        preemptions=int(kernel.fleet["preemptions"][0]),
        end_s=end_s,
        ended_early=bool(kernel.fleet["broken"][0] > kernel.fleet["may_break"][0]),
        bin_s=bin_s,
        realtime_bins_s=kernel.bins[:, 0],
        deferrable_bins_s=kernel.bins[:, 1],
        capacity_bins_s=kernel.bins[:, 2],
    )


def _overhead_s(kernel: KernelState, pools: tuple[SimPool, ...]) -> Floats:
    """Return the latency outside the engine: a constant, a time per prompt token, and some decode steps of each."""
    by_pool_s = np.array([pool.profile.request_overhead_s for pool in pools])
    by_token_s = np.array([pool.profile.prompt_token_overhead_s for pool in pools])
    steps = np.array([pool.profile.first_token_steps for pool in pools])
    requests = kernel.requests
    pool = kernel.replicas["pool"][requests["replica"]] if len(pools) > 1 else 0
    step_s = tpot_s(requests["finished_s"], requests["first_token_s"], requests["output_tokens"])
    step_s = np.where(np.isnan(step_s), 0.0, step_s)
    fixed_s = by_pool_s[pool] + by_token_s[pool] * requests["input_tokens"]
    return np.asarray(fixed_s + steps[pool] * step_s)


def _check(requests: Requests, pools: tuple[SimPool, ...], tick_s: float) -> None:
    cached = requests.input_tokens.astype(np.int64) + requests.output_tokens - 1  # the last token is never read
    access = np.zeros(len(requests), np.int32) if requests.access is None else requests.access
    longest = np.zeros(int(access.max(initial=0)) + 1, np.int64)
    np.maximum.at(longest, access, cached)
    if len(longest) > MAX_ACCESSES:
        raise InfeasibleError(f"accesses: {len(longest):,} are more than {MAX_ACCESSES:,}")
    for pool in pools:
        _check_memory(pool, int(longest[[number for number in pool.permitted if number < len(longest)]].max(initial=0)))
        _check_limits(pool, tick_s)
        if isinstance(pool.scaling, Autoscaled) and any(
            isinstance(pools[other].scaling, Autoscaled) for other in pool.scaling.beside
        ):
            raise InfeasibleError("two autoscaled pools share a load", where=pool.profile.replica.label)
    deferrable = np.isfinite(requests.latest_start_s)
    for number in range(len(longest)):
        may_wait = deferrable[access == number]
        permitting = [pool for pool in pools if pool.max_instances and number in pool.permitted]
        realtime = any(pool.realtime for pool in permitting)
        whose = f" of access {number}" if len(longest) > 1 else ""
        if not may_wait.all() and not realtime:
            raise InfeasibleError(f"no pool takes real-time requests{whose}")
        if may_wait.any() and not realtime and not any(pool.admits_deferrable for pool in permitting):
            raise InfeasibleError(f"no pool takes deferrable requests{whose}")


def _check_memory(pool: SimPool, longest: int) -> None:
    block_tokens = pool.limits.block_tokens
    state_blocks = -(-pool.profile.state_tokens // block_tokens)
    capacity = (pool.profile.kv_capacity_tokens // block_tokens - state_blocks) * block_tokens
    if longest > capacity:
        raise InfeasibleError(
            f"a request needs memory for {longest:,} tokens, but a replica has memory for {capacity:,}",
            where=pool.profile.replica.label,
            fix="use more GPUs per replica (--tp), or hardware with more memory",
        )


def _check_limits(pool: SimPool, tick_s: float) -> None:
    limits, where = pool.limits, pool.profile.replica.label
    bounds = [
        ("sequences in a step (max_num_seqs)", limits.max_num_seqs, 1, MAX_SEQS),
        ("tokens in a step (max_num_batched_tokens)", limits.max_num_batched_tokens, 1, MAX_STEP_TOKENS),
        ("tokens of a block (block_tokens)", limits.block_tokens, 1, MAX_BLOCK_TOKENS),
    ]
    slots = len(pool.scheduled_instances)
    if slots or isinstance(pool.scaling, Scheduled):
        bounds.append(("slots of a schedule", slots, 1, MAX_SLOTS))
    bounds.append(("slots with shares of backfill", len(pool.backfill_shares), 0, MAX_BACKFILL_SLOTS))
    if pool.interruptions:
        bounds.append(("changes of the ceiling", len(pool.interruptions.ceiling), 0, MAX_CEILINGS))
        bounds.append(("lifetimes of instances", len(pool.interruptions.lifetimes_s), 0, MAX_LIFETIMES))
    if isinstance(pool.scaling, Autoscaled):
        kept = recommendations_kept(pool.scaling.stabilization_s, tick_s)
        bounds.append(("ticks of stabilization", kept, 1, STABILIZATION_TICKS))
    for what, value, lower, upper in bounds:
        if not lower <= value <= upper:
            raise InfeasibleError(f"{what}: {value:,} is not from {lower} to {upper:,}", where=where)
    if limits.max_num_batched_tokens <= limits.max_num_seqs:
        raise InfeasibleError("a step must hold more tokens than sequences", where=where)
    if pool.backfill_shares and len(pool.backfill_shares) != slots:
        raise InfeasibleError(f"{len(pool.backfill_shares)} shares of backfill for {slots} slots", where=where)
    if not all(0 < share <= 1 for share in pool.backfill_shares):
        raise InfeasibleError("a share of backfill is more than 0 and at most 1", where=where)
    if pool.backfill and pool.backfill.sequences > 0 and pool.backfill.prefill_tokens < 1:
        raise InfeasibleError("a step must hold at least one prompt token of deferrable work", where=where)


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
        peak_in_flight=int(pool["peak_in_flight"]),
        interruptions=int(pool["interruptions"]),
    )
