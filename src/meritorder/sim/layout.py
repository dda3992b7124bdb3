"""Convert requests and pools into the records that the kernel works on."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.policy.replicas import machines_above_floor, recommendations_kept
from meritorder.sim.pools import Autoscaled, DeadlineScaled, Fixed, Requests, Scheduled, SimPool, SloLimits
from meritorder.sim.runs import idle_tournament
from meritorder.sim.state import (
    CLOSED,
    CONCURRENCY,
    DEADLINES,
    DUE_BUCKETS,
    FIXED,
    FLEET,
    INSTANCE,
    MAX_SEQS,
    NONE,
    POOL,
    REPLICA,
    REQUEST,
    SCHEDULED,
    KernelState,
    Records,
)
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_MINUTE

# What rounding may add to a latency, relative and in seconds.
_ROUNDING: Final = 1e-6


def initial_state(
    requests: Requests,
    pools: tuple[SimPool, ...],
    limits: SloLimits | None,
    *,
    horizon_s: float,
    tick_s: float,
    bin_s: float,
) -> KernelState:
    """Return the state before the first event."""
    deferrable = np.isfinite(requests.latest_start_s)
    span_s = max(horizon_s, float(np.max(requests.latest_start_s[deferrable], initial=0.0)))
    replicas = _replica_records(pools)
    winners = idle_tournament(len(replicas))
    fleet = np.zeros(1, FLEET)
    fleet["tick_s"], fleet["horizon_s"], fleet["bin_s"] = tick_s, horizon_s, bin_s
    fleet["give_up_s"] = span_s + SECONDS_PER_DAY
    fleet["may_break"] = limits.may_break if limits else len(requests)
    fleet["due_bucket_s"] = max(span_s / (DUE_BUCKETS - 1), SECONDS_PER_MINUTE)
    fleet["ticking"] = deferrable.any() or any(
        pool.interruptions or not isinstance(pool.scaling, Fixed) for pool in pools
    )
    access = np.zeros(len(requests), np.int32) if requests.access is None else requests.access
    counts = np.bincount(access[deferrable], minlength=int(access.max(initial=0)) + 1)
    fleet["accesses"] = len(counts)
    fleet["first"][0, : len(counts)] = np.cumsum(counts) - counts
    return KernelState(
        requests=_request_records(requests, deferrable, limits),
        latest_start_s=requests.latest_start_s,
        backlog=np.zeros(int(deferrable.sum()), np.int32),
        replicas=replicas,
        loads=np.full(len(replicas), CLOSED),
        run_end_s=np.full(len(winners) // 2, np.inf),
        winners=winners,
        instances=np.zeros(sum(pool.max_instances for pool in pools), INSTANCE),
        pools=_pool_records(pools, tick_s),
        schedule=np.concatenate([np.array(_schedule(pool).instances, np.int32) for pool in pools]),
        bins=np.zeros((len(pools), 3, int(np.ceil(span_s / bin_s)) + 1)),
        fleet=fleet,
    )


def _request_records(requests: Requests, deferrable: NDArray[np.bool_], limits: SloLimits | None) -> Records:
    unserved = np.zeros(1, REQUEST)
    for name in ("admitted_s", "first_token_s", "finished_s"):
        unserved[name] = np.nan
    for name in ("ttft_limit_s", "tpot_limit_s"):
        unserved[name] = np.inf
    for name in ("next", "replica"):
        unserved[name] = NONE
    records = np.repeat(unserved, len(requests))
    for name in ("arrived_s", "input_tokens", "cached_tokens", "output_tokens", "work_s"):
        records[name] = getattr(requests, name)
    records["deferrable"] = records["lane"] = deferrable
    if requests.access is not None:
        records["access"] = requests.access
    if limits is not None:
        records["ttft_limit_s"] = limits.ttft_s * (1 + _ROUNDING) + _ROUNDING
        records["tpot_limit_s"] = limits.tpot_s * (1 + _ROUNDING) + _ROUNDING
    return records


def _replica_records(pools: tuple[SimPool, ...]) -> Records:
    per_pool = [pool.max_instances * pool.replicas_per_instance for pool in pools]
    records = np.zeros(sum(per_pool), REPLICA)
    records["pool"] = np.repeat(np.arange(len(pools)), per_pool)
    per_instance = np.repeat([pool.replicas_per_instance for pool in pools], [pool.max_instances for pool in pools])
    records["instance"] = np.repeat(np.arange(len(per_instance)), per_instance)
    records["free_seqs"] = np.repeat([pool.limits.max_num_seqs for pool in pools], per_pool)
    records["free_seq"] = np.maximum(records["free_seqs"][:, None] - 1 - np.arange(MAX_SEQS), 0)
    for name in ("head", "tail", "seq_request", "seq_began"):
        records[name] = NONE
    return records


def _pool_records(pools: tuple[SimPool, ...], tick_s: float) -> Records:
    records = np.zeros(len(pools), POOL)
    first_instance = first_replica = first_scheduled = 0
    records["counted_by"] = np.arange(len(pools))
    for record, pool in zip(records, pools, strict=True):
        record["kv_blocks"] = pool.profile.kv_capacity_tokens // pool.limits.block_tokens
        record["block_tokens"] = pool.limits.block_tokens
        record["state_blocks"] = -(-pool.profile.state_tokens // pool.limits.block_tokens)
        record["max_seqs"] = pool.limits.max_num_seqs
        record["max_tokens"] = pool.limits.max_num_batched_tokens
        record["prefill_first"] = pool.limits.prefill_first
        record["whole_prompts"] = pool.limits.whole_prompts
        record["grows"] = not pool.limits.reserve_outputs
        record["permits"] = sum(1 << access for access in pool.permitted)
        record["realtime"] = record["permits"] * pool.realtime
        record["instances"] = pool.max_instances
        record["first_instance"], record["first_replica"] = first_instance, first_replica
        record["replicas_per_instance"] = pool.replicas_per_instance
        record["startup_s"], record["startup_paid_s"] = pool.startup_s, pool.startup_paid_s
        record["minimum_billing_s"] = pool.minimum_billing_s
        record["stabilization_ticks"], record["first_scheduled"] = 1, first_scheduled
        _set_interruptions(record, pool)
        _set_scaling(record, pool, tick_s)
        first_scheduled += int(record["slots"])
        _set_backfill(record, pool)
        table = pool.profile.table(pool.limits)
        record["per_pair_s"] = table.prefill_per_pair_s
        record["decode_base_s"][: len(table.decode_base_s)] = table.decode_base_s
        record["decode_per_kv_s"][: len(table.decode_base_s)] = table.decode_per_kv_token_s
        record["mixed_base_s"][: len(table.mixed_base_s)] = table.mixed_base_s
        first_instance += pool.max_instances
        first_replica += pool.max_instances * pool.replicas_per_instance
    for number, pool in enumerate(pools):
        if isinstance(pool.scaling, Autoscaled):
            records["counted_by"][list(pool.scaling.beside)] = number
    return records


def _set_backfill(record: np.void, pool: SimPool) -> None:
    """Set how much deferrable work is admitted: at time 0, in each slot, and beyond the slots."""
    if pool.backfill is None:
        return
    record["backfill_tokens"] = pool.backfill.prefill_tokens
    record["backfill_by_slot"] = len(pool.backfill_shares)
    limits = [pool.backfill.scaled(share) for share in (*pool.backfill_shares, 1.0)]
    record["sequences_in_slot"][: len(limits)] = [min(slot.sequences, pool.limits.max_num_seqs) for slot in limits]
    record["blocks_in_slot"][: len(limits)] = [int(slot.kv_share * float(record["kv_blocks"])) for slot in limits]
    slot = min(_slot_at_zero(record), len(pool.backfill_shares))
    record["backfill_sequences"] = record["sequences_in_slot"][slot]
    record["backfill_blocks"] = record["blocks_in_slot"][slot]


def _schedule(pool: SimPool) -> Scheduled:
    """Return the slots of a pool; none if it has no schedule and no floor."""
    match pool.scaling:
        case Fixed(instances=instances) if pool.interruptions:
            # Instances that are taken back are rented again, which only a schedule does.
            return Scheduled(instances=(instances,), slot_s=1.0)
        case Scheduled() as scaling:
            return scaling
        case Autoscaled(floor=floor) as scaling if floor:
            return scaling.scheduled_floor
        case _:
            return Scheduled(instances=(), slot_s=1.0)


def _set_scaling(record: np.void, pool: SimPool, tick_s: float) -> None:
    initial = _set_slots(record, _schedule(pool))
    match pool.scaling:
        case Fixed(instances=instances):
            record["scaling"], record["initial"] = SCHEDULED if pool.interruptions else FIXED, instances
        case Scheduled():
            record["scaling"], record["initial"] = SCHEDULED, initial
        case Autoscaled() as scaling:
            record["scaling"], record["target"] = CONCURRENCY, scaling.target_in_flight
            record["initial"] = machines_above_floor(scaling.initial, 0, initial, scaling.maximum)
            record["minimum"] = scaling.minimum
            record["stabilization_ticks"] = recommendations_kept(scaling.stabilization_s, tick_s)
        case DeadlineScaled(margin_s=margin_s):
            record["scaling"], record["target"] = DEADLINES, margin_s


def _set_interruptions(record: np.void, pool: SimPool) -> None:
    record["ceiling"] = pool.max_instances
    if pool.interruptions is None:
        return
    lifetimes_s, changes = pool.interruptions.lifetimes_s, len(pool.interruptions.ceiling)
    record["lifetimes"], record["notice_s"] = len(lifetimes_s), pool.interruptions.notice_s
    record["lifetime_s"][: len(lifetimes_s)] = lifetimes_s
    record["ceilings"] = changes
    record["ceiling_from_s"][:changes] = pool.interruptions.ceiling_from_s
    record["ceiling_from"][:changes] = pool.interruptions.ceiling


def _set_slots(record: np.void, scheduled: Scheduled) -> int:
    """Set the slots of a schedule or a floor; return the instances of the slot at time 0."""
    slots = scheduled.instances
    record["slot_s"], record["ahead_s"], record["first_slot_s"] = (
        scheduled.slot_s,
        scheduled.ahead_s,
        scheduled.first_slot_s,
    )
    record["slots"] = len(slots)
    return slots[min(_slot_at_zero(record), len(slots) - 1)] if slots else 0


def _slot_at_zero(record: np.void) -> int:
    return int(-record["first_slot_s"] / record["slot_s"])
