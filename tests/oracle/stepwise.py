"""The step-by-step simulator: slow, obviously right, and written from the specification (DESIGN.md, 6) alone.

It knows no closed form and no clever data structure. Every engine step is played out: each sequence in it, each token
of each prompt chunk, each block of memory; everything that can be counted is counted again whenever it is asked for.
It shares with the compiled simulator what defines the problem: the description of a fleet, the profile's time of one
step, the decisions in `policy/`, and nothing that answers it.

At one moment arrivals come first, then the clock tick, then steps that end, by number of the replica. An engine that
has nothing to do looks again at any moment at which something came, after the arrivals and the tick of that moment.
"""

import math

from tests.oracle.stepwise_engine import Account, Replica, Request
from tests.oracle.stepwise_pools import Group, Instance, initially_on, wanted_by_slot

from meritorder.policy.backfill import backfill_sequences
from meritorder.policy.replicas import replicas_for_deadline
from meritorder.sim.pools import Autoscaled, DeadlineScaled, Fixed, Requests, Scheduled, SimPool

DAY_S = 86_400.0
DUE_INTERVALS = 1023
LEAST_DUE_INTERVAL_S = 60.0


class Fleet:
    """All pools together, the backlog of deferrable work that no replica holds, and the clock."""

    def __init__(
        self,
        requests: Requests,
        pools: tuple[SimPool, ...],
        horizon_s: float,
        tick_s: float,
        bin_s: float,
    ) -> None:
        deferrable = [math.isfinite(latest) for latest in requests.latest_start_s]
        self.requests = [
            Request(
                number=n,
                arrived_s=float(requests.arrived_s[n]),
                input_tokens=int(requests.input_tokens[n]),
                cached_tokens=int(requests.cached_tokens[n]),
                output_tokens=int(requests.output_tokens[n]),
                latest_start_s=float(requests.latest_start_s[n]),
                work_s=float(requests.work_s[n]),
                deferrable=deferrable[n],
                in_backfill=deferrable[n],
                access=0 if requests.access is None else int(requests.access[n]),
            )
            for n in range(len(requests))
        ]
        latest_s = [r.latest_start_s for r in self.requests if r.deferrable]
        self.span_s = max([horizon_s, *latest_s])
        self.horizon_s, self.tick_s, self.bin_s = horizon_s, tick_s, bin_s
        self.preemptions = 0
        self.backlog: list[Request] = []  # by latest start, then by arrival
        self.groups: list[Group] = []
        self.replicas: list[Replica] = []
        for pool in pools:
            self._add(pool)
        self.ticks = any(deferrable) or any(
            pool.interruptions is not None or not isinstance(pool.scaling, Fixed) for pool in pools
        )

    def _add(self, pool: SimPool) -> None:
        bins = math.ceil(self.span_s / self.bin_s) + 1
        account = Account(realtime_bins_s=[0.0] * bins, deferrable_bins_s=[0.0] * bins, capacity_bins_s=[0.0] * bins)
        instances = []
        for _ in range(pool.max_instances):
            replicas = []
            for _ in range(pool.replicas_per_instance):
                replicas.append(Replica(len(self.replicas), pool, account))
                self.replicas.append(replicas[-1])
            instances.append(Instance(pool, account, replicas))
        self.groups.append(Group(pool, instances, account))

    def instance_of(self, replica: Replica) -> Instance:
        return next(i for group in self.groups for i in group.instances if replica in i.replicas)

    def is_on(self, replica: Replica) -> bool:
        return self.instance_of(replica).state == "on"

    def wake(self, replica: Replica, now: float) -> None:
        """Have an idle engine decide now; one that is in a step decides at its end anyway."""
        if replica.step_ends_s == math.inf and self.instance_of(replica).state in ("on", "draining"):
            replica.step_began_s = replica.step_ends_s = now
            replica.step_decodes, replica.step_prompts = [], []

    def rent(self, group: Group, now: float, startup_s: float) -> Instance:
        instance = group.held("off")[0]
        instance.start(now, startup_s, group.next_lifetime_s())
        if instance.state == "on":
            self.turn_on(instance, now)
        return instance

    def stop(self, instance: Instance, now: float) -> None:
        instance.stop(now, self.bin_s)
        for replica in instance.replicas:
            replica.step_ends_s = math.inf

    def turn_on(self, instance: Instance, now: float) -> None:
        instance.state = "on"
        for replica in instance.replicas:
            self.wake(replica, now)

    def route(self, request: Request, now: float) -> None:
        """Route to an instance that is on, else starts, else drains, else is rented now; else wait at the first."""
        groups = [group for group in self.groups if group.takes_in_real_time(request)]
        on = [r for group in groups for instance in group.held("on") for r in instance.replicas]
        starting = [r for group in groups for instance in group.held("starting") for r in instance.replicas]
        draining = [
            r
            for group in groups
            for instance in group.held("draining")
            for r in instance.replicas
            if not instance.under_notice(now)
        ]
        may_rent = [group for group in groups if group.may_rent]
        if on or starting:
            replica = self._least_loaded(on or starting)
        elif draining:
            replica = self._least_loaded(draining)
            self.turn_on(self.instance_of(replica), now)
        elif may_rent:
            replica = self.rent(may_rent[0], now, may_rent[0].pool.startup_s).replicas[0]
        else:
            replica = groups[0].replicas[0]
        replica.realtime.append(request)
        self.wake(replica, now)

    def _least_loaded(self, replicas: list[Replica]) -> Replica:
        return min(replicas, key=lambda r: (r.load, r.number))

    def offer(self, request: Request, now: float) -> None:
        """To the replica with the most headroom in the first pool that has any, else to the backlog.

        A pool has no headroom for it while something more urgent that may run there waits.
        """
        for group in [group for group in self.groups if group.may_run(request)]:
            ahead = [r for r in self.backlog if group.may_run(r)]
            if any((r.latest_start_s, r.number) < (request.latest_start_s, request.number) for r in ahead):
                continue
            headroom = {
                r.number: backfill_sequences(len(r.running), r.waiting, r.backfill[0])
                for instance in group.held("on")
                for r in instance.replicas
            }
            if any(headroom.values()):
                replica = self.replicas[max(headroom, key=lambda number: (headroom[number], -number))]
                replica.deferrable.append(request)
                self.wake(replica, now)
                return
        self.backlog.append(request)
        self.backlog.sort(key=lambda r: (r.latest_start_s, r.number))

    def tick(self, now: float) -> None:
        """Fill as the slot allows, bring up what has started, interrupt, scale, then let urgent work through."""
        for group in self.groups:
            self._set_backfill(group, now)
            for instance in group.held("starting"):
                if instance.ready_s <= now:
                    self.turn_on(instance, now)
            self._interrupt(group, now)
            self._scale(group, now)
        for group in [group for group in self.groups if group.pool.realtime]:
            for replica in group.replicas:
                for request in [r for r in replica.deferrable if self._is_urgent(r, now)]:
                    replica.deferrable.remove(request)
                    request.in_backfill = False
                    replica.realtime.append(request)
        for request in [r for r in self.backlog if self._is_urgent(r, now)]:
            if any(group.takes_in_real_time(request) for group in self.groups):
                self.backlog.remove(request)
                request.in_backfill = False
                self.route(request, now)

    def _set_backfill(self, group: Group, now: float) -> None:
        """Set the limits on deferrable work of the slot."""
        shares = group.pool.backfill_shares
        if shares:
            assert isinstance(group.pool.scaling, Scheduled | Autoscaled)
            share = [*shares, 1.0][min(int(now / group.pool.scaling.slot_s), len(shares))]
            for replica in group.replicas:
                replica.backfill_share = share
                self.wake(replica, now)

    def _interrupt(self, group: Group, now: float) -> None:
        """Interrupt instances; their requests, and those that wait for one that is off, start again elsewhere."""
        for instance in group.interrupted(now):
            group.account.interruptions += 1
            self.stop(instance, now)
            for replica in instance.replicas:
                if replica.step_decodes or replica.step_prompts:
                    group.busy_until_s = now
                replica.abort(now, self.bin_s)
        for instance in group.held("on"):
            if instance.under_notice(now):
                instance.state = "draining"
        displaced = []
        for replica in [r for instance in group.held("off") for r in instance.replicas]:
            displaced += replica.realtime + replica.deferrable
            replica.realtime, replica.deferrable = [], []
        for request in displaced:
            if request.replica >= 0:
                group.account.lose(request)
            (self.offer if request.in_backfill else self.route)(request, now)

    def _is_urgent(self, request: Request, now: float) -> bool:
        return request.latest_start_s <= now + self.tick_s

    def _wanted(self, group: Group, now: float) -> int:
        scaling, pack, held = group.pool.scaling, group.pool.replicas_per_instance, len(group.held("on", "starting"))
        match scaling:
            case Fixed(instances=instances):
                return held if group.pool.interruptions is None else instances
            case Scheduled(instances=slots, slot_s=slot_s, ahead_s=ahead_s):
                return wanted_by_slot(slots, slot_s, ahead_s, now)
            case Autoscaled():
                others = [self.groups[other] for other in scaling.beside]
                mean = sum(member.in_flight_s for member in (group, *others)) / self.tick_s
                for member in (group, *others):
                    member.in_flight_s = 0.0
                beside = sum(len(i.replicas) for member in others for i in member.held("on", "starting"))
                return group.scaled_to(mean, beside, self.tick_s, now)
            case DeadlineScaled():
                to_add = int(self._replicas_to_add(group, now, scaling.margin_s) / pack)
                if to_add > 0:
                    return min(held + to_add, scaling.maximum)
                if not any(group.may_run(request) for request in self.backlog):
                    for instance in group.held("on"):
                        if instance.is_empty:
                            self.stop(instance, now)
                return len(group.held("on", "starting"))

    def _replicas_to_add(self, group: Group, now: float, margin_s: float) -> float:
        """Return the replicas that the most pressing deadline asks for; deadlines are rounded down to a grid."""
        grid_s = max(self.span_s / DUE_INTERVALS, LEAST_DUE_INTERVAL_S)
        mine = [r for r in self.backlog if group.may_run(r)]
        places = [max(0, min(int(r.latest_start_s / grid_s), DUE_INTERVALS)) for r in mine]
        held = group.held("on", "starting")
        most = 0.0
        for place in places:
            due_by_s = place * grid_s - margin_s
            work_s = sum(r.work_s for r, other in zip(mine, places, strict=True) if other <= place)
            held_s = sum(len(i.replicas) * max(0.0, due_by_s - max(now, i.ready_s)) for i in held)
            time_left_s = due_by_s - now - group.pool.startup_s
            if not held and time_left_s <= self.tick_s:
                most = max(most, group.pool.replicas_per_instance)
            most = max(most, replicas_for_deadline(work_s, held_s, time_left_s))
        return most

    def _scale(self, group: Group, now: float) -> None:
        """Start or drain instances until as many are held as wanted; the highest numbers drain first."""
        wanted = self._wanted(group, now)
        for instance in group.held("draining"):
            if len(group.held("on", "starting")) < wanted and not instance.under_notice(now):
                self.turn_on(instance, now)
        while len(group.held("on", "starting")) < wanted and group.may_rent:
            self.rent(group, now, group.pool.startup_s)
        for instance in reversed(group.held("on")):
            if len(group.held("on", "starting")) > wanted:
                instance.state = "draining"
        for instance in group.held("draining"):
            if instance.is_empty:
                self.stop(instance, now)
        group.account.peak_instances = max(group.account.peak_instances, len(group.held("on", "starting", "draining")))

    def _rent_for_first_slots(self, group: Group) -> None:
        """A schedule rents so long ahead of its slots that it may have done so before the clock began."""
        scaling = group.pool.scaling
        if not isinstance(scaling, Scheduled | Autoscaled):
            return
        slots = scaling.instances if isinstance(scaling, Scheduled) else scaling.floor
        for number, wanted in list(enumerate(slots))[1:]:
            rented_s = number * scaling.slot_s - scaling.ahead_s
            while rented_s <= 0 and len(group.held("on", "starting")) < wanted and group.may_rent:
                instance = self.rent(group, rented_s, group.pool.startup_s)
                if instance.state == "starting" and instance.ready_s <= 0:
                    self.turn_on(instance, 0.0)

    def run(self) -> float:
        """Serve all requests; returns the end."""
        for group in self.groups:
            self._set_backfill(group, 0.0)
            for _ in range(initially_on(group.pool)):
                self.rent(group, 0.0, 0.0)
            self._rent_for_first_slots(group)
            group.account.peak_instances = len(group.held("on", "starting"))
        now, ticks = 0.0, 0
        to_come = list(self.requests)
        while True:
            arrives_s = to_come[0].arrived_s if to_come else math.inf
            ticks_s = (ticks + 1) * self.tick_s if self.ticks else math.inf
            ends_s = min((replica.step_ends_s for replica in self.replicas), default=math.inf)
            moment = min(arrives_s, ticks_s, ends_s)
            if moment == math.inf or (moment == ticks_s < arrives_s and self._is_over(ticks_s)):
                break
            for group in self.groups:
                group.in_flight_s += sum(replica.realtime_in_flight for replica in group.replicas) * (moment - now)
            now = moment
            if moment == arrives_s:
                request = to_come.pop(0)
                (self.offer if request.deferrable else self.route)(request, now)
            elif moment == ticks_s:
                ticks += 1
                self.tick(now)
            else:
                replica = next(r for r in self.replicas if r.step_ends_s == ends_s)
                if replica.step_decodes or replica.step_prompts:
                    group = next(group for group in self.groups if any(replica is member for member in group.replicas))
                    group.busy_until_s = now
                replica.end_step(self.bin_s)
                replica.begin_step(now, self)
        return self._stop(max(now, self.horizon_s))

    def _stop(self, end_s: float) -> float:
        """Hold temporary capacity to the end, and what is always on to the horizon or the end of its own work."""
        for group in self.groups:
            until_s = (
                end_s if isinstance(group.pool.scaling, DeadlineScaled) else max(group.busy_until_s, self.horizon_s)
            )
            for instance in group.held("on", "starting", "draining"):
                instance.stop(max(until_s, instance.paid_from_s), self.bin_s)
        return end_s

    def _is_over(self, ticks_s: float) -> bool:
        served = all(not math.isnan(request.finished_s) for request in self.requests)
        elastic = [group for group in self.groups if isinstance(group.pool.scaling, DeadlineScaled)]
        given_back = all(instance.state == "off" for group in elastic for instance in group.instances)
        return (served and given_back and ticks_s > self.horizon_s) or ticks_s > self.span_s + DAY_S


def simulate_stepwise(
    requests: Requests,
    pools: tuple[SimPool, ...],
    *,
    horizon_s: float,
    tick_s: float = 15.0,
    bin_s: float = 900.0,
) -> tuple[Fleet, float]:
    """Serve all requests step by step, with the arguments of `simulate`; returns the fleet after it, and the end."""
    fleet = Fleet(requests, pools, horizon_s, tick_s, bin_s)
    return fleet, fleet.run()
