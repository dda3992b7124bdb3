"""The simulator's door: requests and a fleet in, timings and paid time out."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import InfeasibleError
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.sim import fleet as kernel
from meritorder.sim.agenda import seeding
from meritorder.sim.state import (
    CONCURRENCY,
    DEADLINES,
    DUE_BUCKETS,
    FIXED,
    INSTANCE,
    MOST_BLOCK_TOKENS,
    MOST_SEQS,
    MOST_SLOTS,
    MOST_STEP_TOKENS,
    NONE,
    POOL,
    REPLICA,
    REQUEST,
    SCHEDULED,
    STABILIZATION_TICKS,
    STATE,
    Floats,
    Records,
    World,
)
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """So many instances, always on."""

    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """As many instances as a plan says for each slot."""

    instances: tuple[int, ...]
    slot_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaled:
    """As many instances as hold the requests in flight at a target.

    Args:
        target_in_flight: Requests in flight that one replica should have.
        minimum: Fewest instances.
        maximum: Most instances.
        initial: Instances on at the start.
        stabilization_s: Scale-down waits until all recommendations of that time are lower.

    Source: defaults of Kubernetes' horizontal pod autoscaler (15 s sync, 300 s scale-down stabilisation), 2026.
    """

    target_in_flight: float
    minimum: int
    maximum: int
    initial: int
    stabilization_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForDeadlines:
    """None, until deferrable work would be late without; then as many as its deadlines ask for, until it is done.

    Args:
        maximum: Most instances.
        margin_s: Safety before each latest start.
    """

    maximum: int
    margin_s: float = 600.0


Scaling = Fixed | Scheduled | Autoscaled | ForDeadlines


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Instances of one kind, with replicas on them.

    Args:
        profile: How fast a replica is.
        scaling: How many instances there are.
        limits: The engine's limits.
        replicas_per_instance: Replicas of one rented machine.
        realtime: Whether it takes real-time requests.
        backfill_seats: Sequences that a replica may hold with deferrable work among them; 0 takes none.
        backfill_tokens: Prompt tokens of deferrable work in one step.
        startup_s: From the decision to rent until it serves: machine, image, weights, warm-up.
        startup_paid_s: The part of that which is paid for.
        minimum_billing_s: Shortest time that is billed.
    """

    profile: Profile
    scaling: Scaling
    limits: EngineLimits = field(default_factory=EngineLimits)
    replicas_per_instance: int = 1
    realtime: bool = True
    backfill_seats: int = 0
    backfill_tokens: int = 1 << 30
    startup_s: float = 300.0
    startup_paid_s: float = 240.0
    minimum_billing_s: float = 60.0

    @property
    def most_instances(self) -> int:
        """Instances that it can have at once."""
        match self.scaling:
            case Fixed(instances=n):
                return n
            case Scheduled(instances=slots):
                return max(slots, default=0)
            case Autoscaled(maximum=n) | ForDeadlines(maximum=n):
                return n


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests as columns, shape (requests,), sorted by arrival.

    Args:
        arrived_s: Arrival.
        input_tokens: Prompt length, at least 1.
        cached_tokens: Prompt tokens that need no computing, fewer than the prompt.
        output_tokens: Generated tokens, at least 1.
        latest_start_s: Latest start of deferrable requests, infinity for real-time ones (which it tells apart).
        work_s: Seconds of a saturated replica that each takes; only scaling for deadlines uses it.
    """

    arrived_s: Floats
    input_tokens: NDArray[np.int32]
    cached_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    latest_start_s: Floats
    work_s: Floats

    def __len__(self) -> int:
        return len(self.arrived_s)

    def only(self, keep: NDArray[np.bool_]) -> "Requests":
        """Return those requests alone."""
        return Requests(**{name: getattr(self, name)[keep] for name in self.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAccount:
    """What became of the paid time of a pool, in seconds of replicas; the parts add up to `paid_s`."""

    paid_s: float
    realtime_s: float
    deferrable_s: float
    startup_s: float
    idle_s: float
    lost_s: float
    peak_instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of the requests, shape (requests,), and of each pool; bins have shape (pools, bins)."""

    admitted_s: Floats
    first_token_s: Floats
    finished_s: Floats
    replica: NDArray[np.int32]
    pools: tuple[PoolAccount, ...]
    preemptions: int
    end_s: float
    bin_s: float
    realtime_bins_s: Floats
    deferrable_bins_s: Floats
    capacity_bins_s: Floats


def simulate(
    requests: Requests,
    pools: tuple[Pool, ...],
    *,
    horizon_s: float,
    tick_s: float = 15.0,
    bin_s: float = 900.0,
    preempt: bool = False,
) -> Result:
    """Serve all requests with a fleet; the cost grows with requests, not with tokens.

    Args:
        requests: What is to be served.
        pools: The fleet, in merit order: deferrable work goes to the first with room.
        horizon_s: Until when instances that are always on are paid for.
        tick_s: How often scaling is decided.
        bin_s: Width of the bins of the time line.
        preempt: Real-time requests take the seat of deferrable ones when there is none left.

    Raises:
        InfeasibleError: A request is longer than the memory of a replica, nobody serves a lane, or a limit is too high.
    """
    _check(requests, pools, tick_s)
    world = _lay_out(requests, pools, horizon_s, tick_s, bin_s, preempt=preempt)
    end_s = kernel.run(world)
    by_pool_s = np.array([pool.profile.request_overhead_s for pool in pools])
    overhead_s = by_pool_s[world.replicas["pool"][world.requests["replica"]]]
    return Result(
        admitted_s=world.requests["admitted_s"].copy(),
        first_token_s=world.requests["first_token_s"] + overhead_s,
        finished_s=world.requests["finished_s"] + overhead_s,
        replica=world.requests["replica"].copy(),
        pools=tuple(_account(pool) for pool in world.pools),
        preemptions=int(world.state["preemptions"][0]),
        end_s=end_s,
        bin_s=bin_s,
        realtime_bins_s=world.bins[:, 0],
        deferrable_bins_s=world.bins[:, 1],
        capacity_bins_s=world.bins[:, 2],
    )


def _check(requests: Requests, pools: tuple[Pool, ...], tick_s: float) -> None:
    cached = requests.input_tokens.astype(np.int64) + requests.output_tokens - 1  # the last token is never read
    longest = int(np.max(cached, initial=0))
    deferrable = np.isfinite(requests.latest_start_s)
    for pool in pools:
        block_tokens = pool.limits.block_tokens
        held = pool.profile.kv_capacity_tokens // block_tokens * block_tokens
        if longest > held:
            raise InfeasibleError(
                f"a request needs memory for {longest:,} tokens, but memory holds {held:,}",
                where=pool.profile.replica.label,
                fix="use more GPUs a replica (--tp), or hardware with more memory",
            )
        _check_limits(pool, tick_s)
    realtime = any(pool.realtime and pool.most_instances for pool in pools)
    if not deferrable.all() and not realtime:
        raise InfeasibleError("no pool takes real-time requests")
    elastic = any(pool.backfill_seats > 0 and pool.most_instances for pool in pools)
    if deferrable.any() and not (elastic or realtime):
        raise InfeasibleError("no pool takes deferrable requests")


def _check_limits(pool: Pool, tick_s: float) -> None:
    limits, where = pool.limits, pool.profile.replica.label
    bounds = [
        ("sequences in a step (max_num_seqs)", limits.max_num_seqs, MOST_SEQS),
        ("tokens in a step (max_num_batched_tokens)", limits.max_num_batched_tokens, MOST_STEP_TOKENS),
        ("tokens of a block (block_tokens)", limits.block_tokens, MOST_BLOCK_TOKENS),
    ]
    if isinstance(pool.scaling, Scheduled):
        bounds.append(("slots of a schedule", len(pool.scaling.instances), MOST_SLOTS))
    if isinstance(pool.scaling, Autoscaled):
        bounds.append(("ticks of stabilisation", _stabilization_ticks(pool.scaling, tick_s), STABILIZATION_TICKS))
    for what, value, most in bounds:
        if not 1 <= value <= most:
            raise InfeasibleError(f"{what}: {value:,} is not from 1 to {most:,}", where=where)
    if limits.max_num_batched_tokens <= limits.max_num_seqs:
        raise InfeasibleError("a step must hold more tokens than sequences", where=where)
    if pool.backfill_seats > 0 and pool.backfill_tokens < 1:
        raise InfeasibleError("a step must hold a token of the deferrable work that has a seat", where=where)


def _stabilization_ticks(scaling: Autoscaled, tick_s: float) -> int:
    return max(1, int(np.ceil(scaling.stabilization_s / tick_s)))


def _lay_out(
    requests: Requests,
    pools: tuple[Pool, ...],
    horizon_s: float,
    tick_s: float,
    bin_s: float,
    *,
    preempt: bool,
) -> World:
    deferrable = np.isfinite(requests.latest_start_s)
    span_s = max(horizon_s, float(np.max(requests.latest_start_s[deferrable], initial=0.0)))
    replicas = _replica_records(pools)
    winners = seeding(len(replicas))
    state = np.zeros(1, STATE)
    state["tick_s"], state["horizon_s"], state["bin_s"] = tick_s, horizon_s, bin_s
    state["give_up_s"] = span_s + SECONDS_PER_DAY
    state["due_bucket_s"] = max(span_s / (DUE_BUCKETS - 1), SECONDS_PER_MINUTE)
    state["preempt"] = preempt
    state["ticking"] = deferrable.any() or any(not isinstance(pool.scaling, Fixed) for pool in pools)
    return World(
        requests=_request_records(requests, deferrable),
        latest_start_s=requests.latest_start_s,
        backlog=np.zeros(max(int(deferrable.sum()), 1), np.int32),
        replicas=replicas,
        next_s=np.full(len(winners) // 2, np.inf),
        winners=winners,
        instances=np.zeros(sum(pool.most_instances for pool in pools), INSTANCE),
        pools=_pool_records(pools, tick_s),
        bins=np.zeros((len(pools), 3, int(np.ceil(span_s / bin_s)) + 1)),
        state=state,
    )


def _request_records(requests: Requests, deferrable: NDArray[np.bool_]) -> Records:
    records = np.zeros(len(requests), REQUEST)
    for name in ("arrived_s", "input_tokens", "cached_tokens", "output_tokens", "work_s"):
        records[name] = getattr(requests, name)
    for name in ("admitted_s", "first_token_s", "finished_s"):
        records[name] = np.nan
    records["deferrable"] = records["lane"] = deferrable
    records["next"] = records["replica"] = NONE
    return records


def _replica_records(pools: tuple[Pool, ...]) -> Records:
    per_pool = [pool.most_instances * pool.replicas_per_instance for pool in pools]
    records = np.zeros(sum(per_pool), REPLICA)
    records["pool"] = np.repeat(np.arange(len(pools)), per_pool)
    per_instance = np.repeat([pool.replicas_per_instance for pool in pools], [pool.most_instances for pool in pools])
    records["instance"] = np.repeat(np.arange(len(per_instance)), per_instance)
    records["seats"] = np.repeat([pool.limits.max_num_seqs for pool in pools], per_pool)
    records["free_seats"] = records["seats"]
    records["free_seat"] = np.maximum(records["seats"][:, None] - 1 - np.arange(MOST_SEQS), 0)
    for name in ("head", "tail", "seat_request", "seat_began"):
        records[name] = NONE
    return records


def _pool_records(pools: tuple[Pool, ...], tick_s: float) -> Records:
    records = np.zeros(len(pools), POOL)
    first_instance = first_replica = 0
    for record, pool in zip(records, pools, strict=True):
        record["kv_blocks"] = pool.profile.kv_capacity_tokens // pool.limits.block_tokens
        record["block_tokens"] = pool.limits.block_tokens
        record["max_seqs"] = pool.limits.max_num_seqs
        record["max_tokens"] = pool.limits.max_num_batched_tokens
        record["realtime"] = pool.realtime
        record["backfill_seats"] = min(pool.backfill_seats, pool.limits.max_num_seqs)
        record["backfill_tokens"] = pool.backfill_tokens
        record["instances"] = pool.most_instances
        record["first_instance"], record["first_replica"] = first_instance, first_replica
        record["pack"] = pool.replicas_per_instance
        record["startup_s"], record["startup_paid_s"] = pool.startup_s, pool.startup_paid_s
        record["minimum_billing_s"] = pool.minimum_billing_s
        record["slot_s"], record["stabilization_ticks"] = 1.0, 1
        _set_scaling(record, pool.scaling, tick_s)
        table = pool.profile.table(pool.limits)
        record["per_pair_s"] = table.prefill_per_pair_s
        record["decode_base_s"][: len(table.decode_base_s)] = table.decode_base_s
        record["decode_per_kv_s"][: len(table.decode_base_s)] = table.decode_per_kv_token_s
        record["mixed_base_s"][: len(table.mixed_base_s)] = table.mixed_base_s
        first_instance += pool.most_instances
        first_replica += pool.most_instances * pool.replicas_per_instance
    return records


def _set_scaling(record: np.void, scaling: Scaling, tick_s: float) -> None:
    match scaling:
        case Fixed(instances=instances):
            record["scaling"], record["initial"] = FIXED, instances
        case Scheduled(instances=slots, slot_s=slot_s):
            record["scaling"], record["slot_s"] = SCHEDULED, slot_s
            record["initial"] = slots[0] if slots else 0
            record["slots"] = len(slots)
            record["schedule"][: len(slots)] = slots
        case Autoscaled():
            record["scaling"], record["target"] = CONCURRENCY, scaling.target_in_flight
            record["initial"] = min(scaling.initial, scaling.maximum)
            record["minimum"] = scaling.minimum
            record["stabilization_ticks"] = _stabilization_ticks(scaling, tick_s)
        case ForDeadlines(margin_s=margin_s):
            record["scaling"], record["target"] = DEADLINES, margin_s


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
    )
