"""What is simulated and what comes out: requests and pools of instances in, timings and accounts of paid time out."""

import math
from dataclasses import dataclass, field, replace
from itertools import cycle, islice, pairwise
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import BackfillLimits
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.records.planpolicy import PaymentRules
from meritorder.sim.state import MAX_ACCESSES, Floats

# Lifetimes drawn for the instances of a pool.
_LIFETIMES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """A constant number of instances, always on."""

    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """The instances that a plan sets for each slot; those of the last slot stay until all requests are served.

    Args:
        instances: Instances wanted in each slot.
        slot_s: Length of a slot.
        ahead_s: How long before its slot an instance is rented, even before time 0; with the length of a start-up it
            serves when the slot begins.
        first_slot_s: When the first slot begins, at time 0 at the latest.
    """

    instances: tuple[int, ...]
    slot_s: float
    ahead_s: float = 0.0
    first_slot_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaled:
    """The instances that keep the requests in flight per replica at a target, and never fewer than a scheduled floor.

    Args:
        target_in_flight: Requests in flight that one replica should have.
        minimum: Lower bound on the instances.
        maximum: Upper bound on the instances; a higher floor does not raise it.
        initial: Instances on at time 0; the floor of the first slot if that is higher.
        stabilization_s: Scale-down waits until all recommendations of this window are lower.
        floor: Fewest instances in each slot; those of the last slot stay until all requests are served.
        slot_s: Length of a slot of the floor.
        ahead_s: How long before its slot an instance of the floor is rented, as in `Scheduled`.
        first_slot_s: When the first slot of the floor begins, as in `Scheduled`.
        beside: Indices of the pools that share the load: their requests in flight count as well, and their replicas
            serve a part of it. None of them is autoscaled itself.

    Raises:
        ValueError: The slots of a floor have no length.

    Source: defaults of Kubernetes' horizontal pod autoscaler (15 s sync, 300 s scale-down stabilization), 2026.
    """

    target_in_flight: float
    minimum: int
    maximum: int
    initial: int
    stabilization_s: float = 300.0
    floor: tuple[int, ...] = ()
    slot_s: float = 0.0
    ahead_s: float = 0.0
    first_slot_s: float = 0.0
    beside: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.floor and self.slot_s <= 0:
            raise ValueError("slot_s: a floor needs slots with a length")

    @property
    def scheduled_floor(self) -> Scheduled:
        """The floor as a schedule."""
        return Scheduled(instances=self.floor, slot_s=self.slot_s, ahead_s=self.ahead_s, first_slot_s=self.first_slot_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineScaled:
    """No instance until deferrable work would otherwise be late; then as many as its deadlines need, until it is done.

    Args:
        maximum: Upper bound on the instances.
        margin_s: Safety margin before each latest start.
    """

    maximum: int
    margin_s: float = 600.0


Scaling = Fixed | Scheduled | Autoscaled | DeadlineScaled


def policy_scaling(
    rules: PaymentRules, slot_s: float, *, span_s: float, ahead_s: float, first_slot_s: float = 0.0
) -> Scaling | None:
    """Return how a policy scales a pool under one payment over a span; None if it never runs a machine.

    Args:
        rules: What the policy says about it.
        slot_s: Length of a slot of the floor, which repeats.
        span_s: Length of the simulation.
        ahead_s: How long before its slot a machine of the floor is rented.
        first_slot_s: When the first slot begins, at time 0 at the latest.
    """
    if rules.is_empty:
        return None
    if rules.backlog:
        return DeadlineScaled(maximum=rules.backlog.maximum, margin_s=rules.backlog.margin_s)
    floor = tuple(islice(cycle(rules.floor), math.ceil(span_s / slot_s - 1e-9)))
    if rules.reactive is None:
        return Scheduled(instances=floor, slot_s=slot_s, ahead_s=ahead_s, first_slot_s=first_slot_s)
    return Autoscaled(
        target_in_flight=rules.reactive.target_in_flight,
        minimum=rules.reactive.minimum,
        maximum=rules.reactive.maximum,
        initial=max(rules.reactive.initial, rules.reactive.minimum),
        stabilization_s=rules.reactive.stabilization_s,
        floor=floor,
        slot_s=slot_s,
        ahead_s=ahead_s,
        first_slot_s=first_slot_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """The time from the decision to rent an instance until it serves, by phase.

    Args:
        machine_s: Provisioning the machine; not paid for.
        image_s: Pulling the container image.
        weights_s: Loading the weights.
        warmup_s: Compiling kernels and capturing graphs.
    """

    machine_s: float = 60.0
    image_s: float = 60.0
    weights_s: float = 120.0
    warmup_s: float = 60.0

    @classmethod
    def with_total(cls, total_s: float) -> "Startup":
        """Return a start-up of this length, with its phases in the proportions of the default."""
        share = total_s / cls().total_s
        parts = {name: getattr(cls(), name) * share for name in ("machine_s", "image_s", "weights_s", "warmup_s")}
        return cls(**parts)

    @property
    def total_s(self) -> float:
        """Length of the start-up."""
        return self.machine_s + self.paid_s

    @property
    def paid_s(self) -> float:
        """Part of the start-up that is paid for."""
        return self.image_s + self.weights_s + self.warmup_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruptions:
    """How the provider takes back a pool's instances, or how they fail; decided at ticks.

    Requests on them lose their progress and are served again elsewhere: first those that ran, in order of admission,
    then those that waited. If no instance serves them and the provider allows no other, they wait.

    Args:
        lifetimes_s: Lifetimes of instances in the order in which they are rented, repeated from the start when they run
            out; empty if instances never end. Draw them from an exponential distribution for a stated rate.
        notice_s: Warning before the end; the instance takes no new requests from then on.
        ceiling_from_s: Times, increasing, at which the number of instances that the provider allows changes. Instances
            above it are taken back without warning, the highest indices first.
        ceiling: The numbers from these times on.

    Raises:
        ValueError: A lifetime is not positive, or there is not one ceiling for each time, in order.
    """

    lifetimes_s: tuple[float, ...] = ()
    notice_s: float = 120.0
    ceiling_from_s: tuple[float, ...] = ()
    ceiling: tuple[int, ...] = ()

    @classmethod
    def draw(cls, mean_s: float, random: np.random.Generator) -> Self:
        """Draw exponential lifetimes with this mean."""
        return cls(lifetimes_s=tuple(random.exponential(mean_s, _LIFETIMES).tolist()))

    def __post_init__(self) -> None:
        if not all(lifetime_s > 0 for lifetime_s in self.lifetimes_s):
            raise ValueError("lifetimes_s: a lifetime must be positive")
        if len(self.ceiling) != len(self.ceiling_from_s):
            raise ValueError("ceiling: there must be one for each time of ceiling_from_s")
        if any(later_s <= earlier_s for earlier_s, later_s in pairwise(self.ceiling_from_s)):
            raise ValueError("ceiling_from_s: times must increase")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimPool:
    """Instances of one kind, with replicas on them.

    Args:
        profile: How fast a replica is.
        scaling: How many instances there are.
        limits: The engine's limits.
        replicas_per_instance: Replicas on one rented machine.
        realtime: Whether it serves real-time requests.
        backfill: How much deferrable work a replica admits beside other work; None if it admits none.
        backfill_shares: Share of these sequences and this memory in each slot of the schedule, in (0, 1]; all of them
            beyond the schedule, and always if empty.
        startup_s: Time from the decision to rent an instance until it serves.
        startup_paid_s: Part of the start-up that is paid for.
        minimum_billing_s: Shortest time that is billed.
        interruptions: How instances are taken back; None if they never are.
        permits: Accesses (`Requests.access`) that may run here; None if all may.
    """

    profile: Profile
    scaling: Scaling
    limits: EngineLimits = field(default_factory=EngineLimits)
    replicas_per_instance: int = 1
    realtime: bool = True
    backfill: BackfillLimits | None = None
    backfill_shares: tuple[float, ...] = ()
    startup_s: float = 300.0
    startup_paid_s: float = 240.0
    minimum_billing_s: float = 60.0
    interruptions: Interruptions | None = None
    permits: frozenset[int] | None = None

    @property
    def admits_deferrable(self) -> bool:
        """Whether its replicas admit deferrable work."""
        return self.backfill is not None and self.backfill.sequences > 0

    @property
    def permitted(self) -> frozenset[int]:
        """Accesses that may run here."""
        return frozenset(range(MAX_ACCESSES)) if self.permits is None else self.permits

    @property
    def scheduled_instances(self) -> tuple[int, ...]:
        """Instances in each slot of the schedule or the floor; empty without one."""
        match self.scaling:
            case Scheduled(instances=slots) | Autoscaled(floor=slots):
                return slots
            case _:
                return ()

    @property
    def max_instances(self) -> int:
        """Most instances that it can have at one time."""
        match self.scaling:
            case Fixed(instances=n):
                return n
            case Scheduled(instances=slots):
                return max(slots, default=0)
            case Autoscaled(maximum=n) | DeadlineScaled(maximum=n):
                return n


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests as columns, shape (requests,), sorted by arrival.

    Args:
        arrived_s: Arrival.
        input_tokens: Prompt length, at least 1.
        cached_tokens: Prompt tokens that need no computing, fewer than the prompt.
        output_tokens: Generated tokens, at least 1.
        latest_start_s: Latest start of a deferrable request; infinity marks a real-time one.
        work_s: Seconds of a saturated replica that each takes; `DeadlineScaled` scales by it.
        access: Index of the set of pools that each may run in (`SimPool.permits`); None if all may run anywhere.
    """

    arrived_s: Floats
    input_tokens: NDArray[np.int32]
    cached_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    latest_start_s: Floats
    work_s: Floats
    access: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.arrived_s)

    def only(self, keep: NDArray[np.bool_]) -> "Requests":
        """Return the requests selected by a mask."""
        columns = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return replace(self, **{name: column[keep] for name, column in columns.items() if column is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class SloLimits:
    """The SLO of each request, and how many may break theirs before a simulation has shown enough, and ends.

    Args:
        ttft_s: Time to first token, shape (requests,); infinity in the deferrable lane.
        tpot_s: Time per output token after the first, shape (requests,); infinity in the deferrable lane.
        may_break: The most requests that may break theirs.
    """

    ttft_s: Floats
    tpot_s: Floats
    may_break: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAccount:
    """How a pool's paid time was used, in replica-seconds; the parts add up to `paid_s`.

    `peak_in_flight` is the most real-time requests that were in the pool at one time, running or waiting.
    """

    paid_s: float
    realtime_s: float
    deferrable_s: float
    startup_s: float
    idle_s: float
    lost_s: float
    peak_instances: int
    peak_in_flight: int
    interruptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimResult:
    """The outcome of a simulation: timings of requests, shape (requests,), and the account of each pool.

    Args:
        admitted_s: When the request first got a sequence on a replica; nan if never.
        first_token_s: When its first token was generated, in the attempt that succeeded; nan if never.
        finished_s: When its last token was generated; nan if never.
        replica: Index of the replica that served it.
        attempts: Attempts that an interruption ended.
        pools: How each pool's paid time was used.
        preemptions: Sequences preempted for lack of memory.
        end_s: When the last instance was stopped, or the horizon if that is later.
        ended_early: Whether it ended because too many requests broke their SLO, and says nothing else.
        bin_s: Width of a time bin.
        first_bin_s: When the first bin begins.
        realtime_bins_s: Replica-seconds of real-time work, lost or not, shape (pools, bins).
        deferrable_bins_s: Replica-seconds of deferrable work, lost or not, shape (pools, bins).
        capacity_bins_s: Replica-seconds paid, shape (pools, bins).
    """

    admitted_s: Floats
    first_token_s: Floats
    finished_s: Floats
    replica: NDArray[np.int32]
    attempts: NDArray[np.int32]
    pools: tuple[PoolAccount, ...]
    preemptions: int
    end_s: float
    ended_early: bool
    bin_s: float
    realtime_bins_s: Floats
    deferrable_bins_s: Floats
    capacity_bins_s: Floats
    first_bin_s: float = 0.0

    @property
    def bin_starts_s(self) -> Floats:
        """When each bin begins, shape (bins,)."""
        return self.first_bin_s + np.arange(self.capacity_bins_s.shape[1], dtype=np.float64) * self.bin_s

    def delayed(self, by_s: float) -> "SimResult":
        """Return the result on a clock that was at this time when the simulation began."""
        return replace(
            self,
            admitted_s=self.admitted_s + by_s,
            first_token_s=self.first_token_s + by_s,
            finished_s=self.finished_s + by_s,
            end_s=self.end_s + by_s,
            first_bin_s=self.first_bin_s + by_s,
        )
