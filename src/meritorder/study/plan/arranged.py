"""A known arrangement as a plan: the policy that it is, and what it ran."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder.domain import Lane, PricingModel
from meritorder.offers import Offer
from meritorder.planner.model.demand import Horizon
from meritorder.planner.model.supply import Holdings, machine_key
from meritorder.records import planfile
from meritorder.records.planpolicy import BacklogRule, Policy, PolicyFloor, ReactiveRule
from meritorder.sim.pools import Autoscaled, DeadlineScaled, Fixed, PoolAccount, Scheduled, SimPool
from meritorder.study.compare.arrangements import price_tokens
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import ASSUMED_INTERRUPTIONS_PER_MONTH
from meritorder.study.hindsight.tokens import TokenPurchase
from meritorder.study.plan.arrangements import Arrangements, kept_usd
from meritorder.study.plan.held import is_held, machine_use, split_savings
from meritorder.study.schedule.demand import RequestClass, request_classes, slot_index, venue_name, workload_names
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.supply import pool_name
from meritorder.units import SECONDS_PER_HOUR, interruptions_per_hour

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A fleet that is always on may grow to this many times its machines, and by one, above the load that it held.
_GROWTH: Final = 1.5
# Machines below this share of one are rounding.
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrangedPool:
    """A pool of a known arrangement, as the plan names it.

    Args:
        name: Name of the pool.
        group: The requests that it serves.
        trial: The fleet that it belongs to, simulated on them.
        machine: Its machines.
        pool: How they scale, and how much deferrable work they admit beside real-time work.
        account: How their paid time was used.
        place: Index of the pool in its simulation.
    """

    name: str
    group: Arrangements
    trial: Trial
    machine: CandidateMachine
    pool: SimPool
    account: PoolAccount
    place: int

    @property
    def usd(self) -> float:
        """What was paid for it."""
        return 0.0 if self.held else self.account.paid_s / SECONDS_PER_HOUR * self.machine.usd_per_replica_hour

    @property
    def held(self) -> bool:
        """Whether its machines are paid for whether or not they are used."""
        return is_held(self.machine)

    @property
    def payment(self) -> str:
        """Name of what is paid for its machines."""
        offer = self.machine.offer
        return f"{machine_key(offer)} held" if self.held else offer.label

    @property
    def on_demand(self) -> Offer:
        """The price of a machine more."""
        return replace(self.machine.offer, pricing_model=PricingModel.ON_DEMAND) if self.held else self.machine.offer

    def by_slot(self, bins_s: Floats, slot_s: float, slots: int) -> Floats:
        """Return replica-seconds by slot, shape (slots,); what lies after the last slot counts there.

        Args:
            bins_s: Replica-seconds by pool and bin of the simulation, shape (pools, bins).
            slot_s: Length of a slot.
            slots: Number of slots.
        """
        result = self.trial.result
        slot = slot_index(self.trial.load.begin_s + result.bin_starts_s, slot_s, slots)
        return np.bincount(slot, weights=bins_s[self.place], minlength=slots).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How requests that share machines are served.

    Args:
        group: The requests.
        trial: The fleet that serves them; None if all are bought as tokens.
        bought: What is bought as tokens; None if nothing is.
    """

    group: Arrangements
    trial: Trial | None
    bought: TokenPurchase | None = None

    @property
    def usd(self) -> float:
        """What they cost; infinity if a promise is broken."""
        machines_usd = 0.0 if self.trial is None else kept_usd(self.trial)
        return machines_usd + (self.bought.usd if self.bought else 0.0)

    @property
    def may_wait(self) -> Bools:
        """Which requests may wait and are not bought, shape (requests,)."""
        deferrable = self.group.load.deferrable
        return deferrable & ~self.bought.members if self.bought else deferrable


def arranged_pools(served: Sequence[Served], *, several_models: bool) -> list[ArrangedPool]:
    """Return the pools of fleets, each with a name of its own.

    Args:
        served: The fleets, and the requests that they serve.
        several_models: Whether names include the model.
    """
    pools: list[ArrangedPool] = []
    for group, trial in [(part.group, part.trial) for part in served if part.trial]:
        for place, (machine, pool) in enumerate(trial.pools):
            suffix = group.model if several_models else ""
            name = pool_name(machine.offer, machine.profile, realtime=pool.realtime, suffix=suffix)
            if any(
                name == other.name and (other.group is not group or other.held == is_held(machine)) for other in pools
            ):
                name = f"{name}, {group.name}"
            pools.append(
                ArrangedPool(
                    name=name,
                    group=group,
                    trial=trial,
                    machine=machine,
                    pool=pool,
                    account=trial.result.pools[place],
                    place=place,
                )
            )
    return pools


def executable_arrangement(
    served: Sequence[Served],
    pools: Sequence[ArrangedPool],
    *,
    horizon: Horizon,
    several_models: bool,
    holdings: Holdings,
    reactive: bool = False,
) -> ExecutablePlan:
    """Return the cheapest known arrangements as a plan that the simulator executes: a policy, and what it ran.

    Args:
        served: The arrangements.
        pools: Their pools.
        horizon: The slots of the plan.
        several_models: Whether names of workloads include their model.
        holdings: What is held already.
        reactive: Whether fleets that are always on grow beyond the load that they were seen to hold.
    """
    saved_usd = split_savings(
        [machine_use(arranged.trial, arranged.place) for arranged in pools], holdings.savings_plans
    )
    kinds = {reserved.machine: reserved.kind for reserved in holdings.reserved}
    slot_s, slots = horizon.slot_s, horizon.slots
    return ExecutablePlan(
        slot_s=slot_s,
        slots=slots,
        pools=list({arranged.name: _plan_pool(arranged) for arranged in pools}.values()),
        schedule=[
            *(
                _schedule(arranged, slot_s, slots, saved_usd=usd, kinds=kinds)
                for arranged, usd in zip(pools, saved_usd, strict=True)
            ),
            *(_none_yet(arranged, slots) for arranged in (_held_alone(pools) if reactive else [])),
        ],
        routes=[route for part in served for route in _routes(part, pools, horizon, several_models=several_models)],
        commitments=[],
        several_models=several_models,
        policy=_deferring(_policy(pools, slot_s, reactive=reactive), served, several_models=several_models),
        # A schedule with hindsight has shorter slots than the plan, and is nothing to repeat.
        scalings={
            (arranged.name, arranged.payment): arranged.pool.scaling
            for arranged in pools
            if isinstance(arranged.pool.scaling, Scheduled)
        },
    )


def _plan_pool(arranged: ArrangedPool) -> planfile.PlanPool:
    offer, machine, backfill = arranged.machine.offer, arranged.machine, arranged.pool.backfill
    replica = machine.profile.replica
    return planfile.PlanPool(
        name=arranged.name,
        model=arranged.group.model,
        replica=replica.label,
        provider=offer.provider,
        region=offer.region,
        machine=machine_key(offer),
        hardware=offer.hardware,
        gpus=offer.gpus,
        replicas=machine.replicas,
        startup_s=machine.startup_s,
        startup_paid_s=machine.startup_paid_s,
        engine=replica.engine,
        engine_version=machine.profile.engine_version,
        precision=replica.precision,
        replica_gpus=replica.gpus,
        attention_ranks=replica.attention_ranks,
        max_num_seqs=machine.limits.max_num_seqs,
        max_num_batched_tokens=machine.limits.max_num_batched_tokens,
        backfill_seats=backfill.sequences if backfill else 0,
        backfill_tokens=backfill.prefill_tokens if backfill else 1,
        backfill_kv_share=backfill.kv_share if backfill else 1.0,
        begin_s=arranged.group.load.begin_s,
    )


def _schedule(
    arranged: ArrangedPool, slot_s: float, slots: int, *, saved_usd: float, kinds: Mapping[str, str]
) -> planfile.PoolSchedule:
    """Return the prices of a pool, and the machines that ran in each slot on average, rounded up."""
    offer = arranged.machine.offer
    paid_s = arranged.by_slot(arranged.trial.result.capacity_bins_s, slot_s, slots)
    machines = np.ceil(paid_s / (slot_s * arranged.machine.replicas) - _ROUNDING).astype(np.int64)
    # What runs on after the last slot counts there, and would make more machines of it than there ever were.
    machines = np.minimum(machines, arranged.account.peak_instances)
    share = offer.interruptions_per_month
    interrupted = arranged.machine.interruptions is not None
    return planfile.PoolSchedule(
        pool=arranged.name,
        payment=arranged.payment,
        pricing_model=kinds[machine_key(offer)] if arranged.held else offer.pricing_model.value,
        usd_per_hour=offer.usd_per_hour,
        minimum_billing_s=offer.minimum_billing_s,
        machines=machines.tolist(),
        realtime=arranged.pool.realtime,
        deferrable=arranged.account.deferrable_s > 0,
        usd=arranged.usd - saved_usd,
        saved_usd=saved_usd,
        interruptions_per_hour=(
            interruptions_per_hour(ASSUMED_INTERRUPTIONS_PER_MONTH if share is None else share) if interrupted else 0.0
        ),
    )


def _held_alone(pools: Sequence[ArrangedPool]) -> list[ArrangedPool]:
    """Return the real-time pools whose machines are all held: what a higher load adds is on demand."""
    rented = {arranged.name for arranged in pools if not arranged.held}
    return [arranged for arranged in pools if arranged.held and arranged.pool.realtime and arranged.name not in rented]


def _none_yet(arranged: ArrangedPool, slots: int) -> planfile.PoolSchedule:
    """Return the price of machines on demand beside those that are held."""
    offer = arranged.on_demand
    return planfile.PoolSchedule(
        pool=arranged.name,
        payment=offer.label,
        pricing_model=offer.pricing_model.value,
        usd_per_hour=offer.usd_per_hour,
        minimum_billing_s=offer.minimum_billing_s,
        machines=[0] * slots,
        realtime=True,
        deferrable=arranged.account.deferrable_s > 0,
        usd=0.0,
    )


def _policy(pools: Sequence[ArrangedPool], slot_s: float, *, reactive: bool) -> Policy:
    floor: list[PolicyFloor] = []
    rules: list[ReactiveRule] = []
    backlog: list[BacklogRule] = []
    alone = _held_alone(pools)
    for arranged in pools:
        rows = {"pool": arranged.name, "payment": arranged.payment}
        match arranged.pool.scaling:
            case Fixed(instances=machines):
                floor.append(PolicyFloor(**rows, machines=[machines]))
                if reactive and arranged.pool.realtime and (arranged in alone or not arranged.held):
                    target, maximum = _held_in_flight(arranged), math.ceil(_GROWTH * machines) + 1
                    here = 0 if arranged.held else machines
                    rules.append(
                        ReactiveRule(
                            pool=arranged.name,
                            payment=arranged.on_demand.label,
                            target_in_flight=target,
                            minimum=here,
                            maximum=maximum - machines + here,
                            initial=here,
                        )
                    )
            case Autoscaled() as rule:
                rules.append(
                    ReactiveRule(
                        **rows,
                        target_in_flight=rule.target_in_flight,
                        minimum=rule.minimum,
                        maximum=rule.maximum,
                        stabilization_s=rule.stabilization_s,
                        initial=rule.initial,
                    )
                )
                if rule.floor:
                    floor.append(PolicyFloor(**rows, machines=list(rule.floor)))
            case DeadlineScaled() as rule:
                rate = arranged.machine.saturation.tokens_per_s
                backlog.append(BacklogRule(**rows, maximum=rule.maximum, margin_s=rule.margin_s, tokens_per_s=rate))
    return Policy(slot_s=slot_s, floor=floor, reactive=rules, backlog=backlog)


def _deferring(policy: Policy, served: Sequence[Served], *, several_models: bool) -> Policy:
    """Return a policy with what waits, of all that may."""
    may_wait = [part for part in served if part.trial and part.may_wait.any()]
    waiting = [part for part in may_wait if part.trial and any(pool.deferrable_s for pool in part.trial.result.pools)]
    at_once: list[str] = []
    for part in [part for part in may_wait if part not in waiting] if waiting else ():
        load = part.group.load
        names = workload_names(load, part.group.model if several_models else "")
        at_once += [names[index] for index in np.unique(load.workload[part.may_wait]).tolist()]
    return structs.replace(policy, defer=bool(waiting) or not may_wait, at_once=sorted(at_once))


def _held_in_flight(arranged: ArrangedPool) -> float:
    """Return the most real-time requests in flight per replica that a fleet held within its SLO."""
    load, result = arranged.trial.load, arranged.trial.result
    realtime = ~load.deferrable if arranged.account.deferrable_s > 0 else np.ones(len(load), np.bool_)
    arrived_s, finished_s = load.arrived_s[realtime], np.sort(result.finished_s[realtime])
    in_flight = np.arange(1, len(arrived_s) + 1) - np.searchsorted(finished_s, arrived_s)
    replicas = arranged.account.peak_instances * arranged.machine.replicas
    return max(1.0, float(in_flight.max(initial=0)) / max(replicas, 1))


def _routes(
    part: Served, pools: Sequence[ArrangedPool], horizon: Horizon, *, several_models: bool
) -> Iterator[planfile.PlanRoute]:
    """Yield what serves how much of each workload: its share of each slot (real time), or seconds of work."""
    slot_s, slots, group = horizon.slot_s, horizon.slots, part.group
    own = [arranged for arranged in pools if arranged.group is group]
    load = group.load.on_trace_clock
    on_machines = load.select(part.may_wait)
    for members in request_classes(load, slot_s, group.model if several_models else ""):
        requests = load.select(members.members)
        slot = slot_index(requests.arrived_s, slot_s, slots)
        price = part.bought.prices.get(int(requests.workload[0])) if part.bought and members.deferrable else None
        if price is not None:
            work_s = group.search.machines[0].work_s(requests)
            yield structs.replace(
                _route(
                    members, venue_name(price), np.bincount(slot, weights=work_s, minlength=slots).astype(np.float64)
                ),
                kind="tier",
                usd=price_tokens(price, requests),
                provider=price.provider,
            )
        elif not members.deferrable:
            base = next(arranged for arranged in own if arranged.pool.realtime)
            arrived = np.bincount(slot, minlength=slots)
            yield _route(members, base.name, np.where(arrived > 0, 1.0, 0.0))
        else:
            share = float(requests.tokens / on_machines.tokens)
            for arranged in own:
                done_s = arranged.by_slot(arranged.trial.result.deferrable_bins_s, slot_s, slots)
                if done_s.any():
                    yield _route(members, arranged.name, share * done_s)


def _route(members: RequestClass, venue: str, flow: Floats) -> planfile.PlanRoute:
    lane = Lane.DEFERRABLE if members.deferrable else Lane.REALTIME
    return planfile.PlanRoute(
        workload=members.name, lane=lane.value, venue=venue, kind="pool", flow=flow.tolist(), usd=0.0
    )
