"""The instances and pools of the step-by-step simulator (stepwise.py): rented, paid for, interrupted."""

import math
from dataclasses import dataclass, field

from tests.oracle.stepwise_engine import Account, Replica, Request, add_to_bins

from meritorder.sim.pools import Autoscaled, DeadlineScaled, Fixed, Scheduled, SimPool


@dataclass
class Instance:
    """A rented machine with replicas on it."""

    pool: SimPool
    account: Account
    replicas: list[Replica]
    state: str = "off"  # starting, on, draining
    ready_s: float = 0.0
    paid_from_s: float = 0.0
    startup_paid_s: float = 0.0
    ends_s: float = math.inf  # when the provider takes it back

    @property
    def is_empty(self) -> bool:
        return all(replica.in_flight == 0 for replica in self.replicas)

    def under_notice(self, now: float) -> bool:
        """Whether the provider has given notice."""
        return self.pool.interruptions is not None and self.ends_s - self.pool.interruptions.notice_s <= now

    def start(self, now: float, delay_s: float, lifetime_s: float) -> None:
        self.ends_s = now + lifetime_s
        self.state = "starting" if delay_s > 0 else "on"
        self.ready_s = now + delay_s
        self.startup_paid_s = min(self.pool.startup_paid_s, delay_s)
        self.paid_from_s = self.ready_s - self.startup_paid_s

    def stop(self, now: float, bin_s: float) -> None:
        """Pay for it: at least the minimum, start-up first, and the rest is work or idle."""
        until_s = max(now, self.paid_from_s + self.pool.minimum_billing_s)
        replicas = len(self.replicas)
        self.account.paid_s += (until_s - self.paid_from_s) * replicas
        self.account.startup_s += min(self.startup_paid_s, until_s - self.paid_from_s) * replicas
        add_to_bins(self.account.capacity_bins_s, bin_s, self.paid_from_s, until_s, replicas)
        self.state = "off"


@dataclass
class Group:
    """The instances of one pool, and what its autoscaler remembers."""

    pool: SimPool
    instances: list[Instance]
    account: Account
    busy_until_s: float = 0.0  # end of its last step
    in_flight_s: float = 0.0  # real-time requests in flight, summed over the time since the last tick
    recommended: list[int] = field(default_factory=list)
    rented: int = 0
    ceiling: float = math.inf  # instances that the provider leaves, as of the last tick

    @property
    def replicas(self) -> list[Replica]:
        return [replica for instance in self.instances for replica in instance.replicas]

    def may_run(self, request: Request) -> bool:
        return request.access in self.pool.permitted

    def takes_in_real_time(self, request: Request) -> bool:
        return self.pool.realtime and len(self.instances) > 0 and self.may_run(request)

    @property
    def may_rent(self) -> bool:
        rented = len(self.held("on", "starting", "draining"))
        return rented < min(self.ceiling, len(self.instances))

    def held(self, *states: str) -> list[Instance]:
        return [instance for instance in self.instances if instance.state in states]

    def next_lifetime_s(self) -> float:
        """Return the lifetime of the instance rented now: they are used in order, repeatedly."""
        lifetimes_s = self.pool.interruptions.lifetimes_s if self.pool.interruptions else ()
        self.rented += 1
        return lifetimes_s[(self.rented - 1) % len(lifetimes_s)] if lifetimes_s else math.inf

    def interrupted(self, now: float) -> list[Instance]:
        """Return the instances whose lifetime is over, and of the others the last ones above the ceiling."""
        interruptions = self.pool.interruptions
        if interruptions is None:
            return []
        for from_s, ceiling in zip(interruptions.ceiling_from_s, interruptions.ceiling, strict=True):
            if from_s <= now:
                self.ceiling = ceiling
        rented = self.held("on", "starting", "draining")
        over = [instance for instance in rented if instance.ends_s <= now]
        left = [instance for instance in rented if instance.ends_s > now]
        return over + (left[int(self.ceiling) :] if self.ceiling < len(left) else [])

    def scaled_to(self, in_flight: float, beside: int, tick_s: float, now: float) -> int:
        """Return the instances that keep the requests in flight at their target, the most of the window and floor."""
        scaling = self.pool.scaling
        assert isinstance(scaling, Autoscaled)
        replicas = math.ceil(in_flight / scaling.target_in_flight - 1e-9) - beside
        self.recommended.append(math.ceil(replicas / self.pool.replicas_per_instance))
        window = max(1, math.ceil(scaling.stabilization_s / tick_s))
        floor = wanted_by_slot(scaling.floor, scaling.slot_s, scaling.ahead_s, now) if scaling.floor else 0
        return min(max(scaling.minimum, floor, *self.recommended[-window:]), scaling.maximum)


def wanted_by_slot(slots: tuple[int, ...], slot_s: float, ahead_s: float, now: float) -> int:
    """Return the most instances of the slot and of those that begin before a start-up is over."""
    return max(slots[min(int(now / slot_s), len(slots) - 1) : int((now + ahead_s) / slot_s) + 1])


def initially_on(pool: SimPool) -> int:
    """Return the instances that are on at time 0."""
    match pool.scaling:
        case Fixed(instances=initial):
            return initial
        case Autoscaled(initial=initial, floor=floor, maximum=maximum):
            return min(max([initial, *floor[:1]]), maximum)
        case Scheduled(instances=slots):
            return slots[0] if slots else 0
        case DeadlineScaled():
            return 0
