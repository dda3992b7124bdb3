"""What is simulated and what comes out: pools of instances, requests, accounts."""

from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import BackfillLimits
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.sim.state import MOST_ACCESSES, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """So many instances, always on."""

    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """As many instances as a plan says for each slot; the last slot's stay until all is done.

    Args:
        instances: Wanted in each slot.
        slot_s: Length of a slot.
        ahead_s: How long before its slot an instance is rented: with the time of a start-up it serves when it begins.
            That may be before time 0.
    """

    instances: tuple[int, ...]
    slot_s: float
    ahead_s: float = 0.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueScaled:
    """As many instances as the requests that wait ask for: `ceil(waiting / target)`.

    Args:
        target_waiting: Requests waiting that one replica should have.
        minimum: Fewest instances.
        maximum: Most instances.
        initial: Instances on at the start.
        stabilization_s: Scale-down waits until all recommendations of that time are lower.

    Source: KEDA's average-value rule on vLLM's num_requests_waiting, as in vLLM's production stack, 2026.
    """

    target_waiting: float
    minimum: int
    maximum: int
    initial: int
    stabilization_s: float = 300.0


Scaling = Fixed | Scheduled | Autoscaled | QueueScaled | ForDeadlines


class Routing(IntEnum):
    """How real-time requests are spread over the replicas that are on."""

    LEAST_REQUESTS = 0
    ROUND_ROBIN = 1
    LEAST_WORK = 2
    AFFINITY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """From the decision to rent an instance until it serves.

    Args:
        machine_s: Until the machine runs; not paid for.
        image_s: Fetching the container image.
        weights_s: Loading the weights.
        warmup_s: Compiling and capturing graphs.
    """

    machine_s: float = 60.0
    image_s: float = 60.0
    weights_s: float = 120.0
    warmup_s: float = 60.0

    @classmethod
    def of(cls, total_s: float) -> "Startup":
        """Return a start-up of that length, in the proportions of the default."""
        share = total_s / cls().total_s
        parts = {name: getattr(cls(), name) * share for name in ("machine_s", "image_s", "weights_s", "warmup_s")}
        return cls(**parts)

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.machine_s + self.paid_s

    @property
    def paid_s(self) -> float:
        """The part that is paid for."""
        return self.image_s + self.weights_s + self.warmup_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruptions:
    """How a pool's instances are taken back, or fail.

    What they held is lost and served again elsewhere: first what ran, in order of admission, then what waited. If
    nobody serves and the provider leaves no more, it waits. Decided at ticks.

    Args:
        lives_s: Lives of instances in the order in which they are rented, repeated when they run out; empty if they
            live for ever. Draw them from an exponential law for a stated rate.
        notice_s: Warning before the end: the instance takes nothing new from then on.
        ceiling_from_s: Times from which the provider leaves at most so many instances, increasing; of more, the
            highest numbers are taken back without a warning.
        ceiling: Those numbers.

    Raises:
        ValueError: A life is not positive, or the ceilings are not one for each time, in order.
    """

    lives_s: tuple[float, ...] = ()
    notice_s: float = 120.0
    ceiling_from_s: tuple[float, ...] = ()
    ceiling: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not all(life_s > 0 for life_s in self.lives_s):
            raise ValueError("lives_s: a life must be positive")
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
        replicas_per_instance: Replicas of one rented machine.
        realtime: Whether it takes real-time requests.
        backfill: How much deferrable work a replica admits beside other work; None if it admits none.
        backfill_shares: Share of these sequences and this memory in each slot of the schedule, in (0, 1]; all of them
            beyond the schedule, and always if empty.
        startup_s: From the decision to rent until it serves: machine, image, weights, warm-up.
        startup_paid_s: The part of that which is paid for.
        minimum_billing_s: Shortest time that is billed.
        interruptions: How instances are taken back; None if they are not.
        permits: Accesses whose requests may run here, as `Requests.access` numbers them; None if all may.
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
    def takes_deferrable(self) -> bool:
        """Whether its replicas admit deferrable work."""
        return self.backfill is not None and self.backfill.sequences > 0

    @property
    def permitted(self) -> frozenset[int]:
        """Accesses whose requests may run here."""
        return frozenset(range(MOST_ACCESSES)) if self.permits is None else self.permits

    @property
    def most_instances(self) -> int:
        """Instances that it can have at once."""
        match self.scaling:
            case Fixed(instances=n):
                return n
            case Scheduled(instances=slots):
                return max(slots, default=0)
            case Autoscaled(maximum=n) | QueueScaled(maximum=n) | ForDeadlines(maximum=n):
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
        work_s: Seconds of a saturated replica that each takes; scaling for deadlines and routing by work use it.
        session: Number of the session whose prefix each has, from 0; -1 for none. Only affinity and prefixes that
            are cached by replica use it.
        access: Number of the set of pools that each may run in, from 0, as `SimPool.permits` has it; None if all may
            run anywhere.
    """

    arrived_s: Floats
    input_tokens: NDArray[np.int32]
    cached_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    latest_start_s: Floats
    work_s: Floats
    session: NDArray[np.int32] | None = None
    access: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.arrived_s)

    def only(self, keep: NDArray[np.bool_]) -> "Requests":
        """Return those requests alone."""
        columns = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return replace(self, **{name: column[keep] for name, column in columns.items() if column is not None})


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
    interruptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimResult:
    """What became of the requests, shape (requests,), and of each pool; bins have shape (pools, bins).

    `attempts` counts those that interruptions ended; `replica` and `first_token_s` are of the one that succeeded,
    `admitted_s` of the first. The bins of work hold what ran, whether it was lost later or not.
    """

    admitted_s: Floats
    first_token_s: Floats
    finished_s: Floats
    replica: NDArray[np.int32]
    attempts: NDArray[np.int32]
    pools: tuple[PoolAccount, ...]
    preemptions: int
    end_s: float
    bin_s: float
    realtime_bins_s: Floats
    deferrable_bins_s: Floats
    capacity_bins_s: Floats
