"""Make a plan: solve, carry it out, trust the machines less where a promise breaks, and solve again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder import planfile
from meritorder.domain import Lane
from meritorder.errors import InfeasibleError
from meritorder.plan.record import to_file
from meritorder.plan.solution import Solution, find_plan, realtime_load
from meritorder.plan.solve import Effort
from meritorder.study.plan.bursts import bursts_for, raised, strictest
from meritorder.study.plan.check import ModelRun, carry_out
from meritorder.study.plan.demand import realtime_classes_of
from meritorder.study.plan.options import PlanOptions
from meritorder.study.plan.problem import Asked, Trust, trusting
from meritorder.study.plan.room import less_room
from meritorder.study.plan.supply import Site
from meritorder.study.promises import Promised
from meritorder.study.search import Progress
from meritorder.units import format_share, format_usd

Floats = NDArray[np.float64]

_MOST_ROUNDS: Final = 20
# Factors by which the trust in machines is lowered where a promise broke.
_SEATS_STEP: Final = 0.9
_FEWEST_SEATS: Final = 0.5
_SEATS_POWER: Final = 0.25
# A step is so much longer for each step that was taken before in vain.
_PERSISTENT: Final = 0.5
# Of the requests that may break the SLO, the share that real-time work alone may use up and leave room for others.
_ALONE: Final = 0.8
# Then the last step is halved so many times; once for loads of so many requests.
_HALVINGS: Final = 2
_MANY_REQUESTS: Final = 5_000_000
_FULL_STEP: Final = 0.97
# Share of the effort that rounds get before a plan has held.
_ROUGH: Final = 0.2
_ROUGH_GAP: Final = 0.02
# How often all of it is spent: what is cheaper may break a promise that the rough plan kept, and is trusted less then.
_FULL_EFFORTS: Final = 2
# A plan that is simulated within this of its bound is good enough; of so many requests, whose every round takes a
# third of a minute, within that.
_ENOUGH: Final = 0.01
_ENOUGH_OF_MANY: Final = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A plan that was carried out.

    Args:
        solution: What the programme says.
        file: The plan as a file, its check in it.
        runs: What became of each model's requests.
        asked: The problem with the trust in machines that it took.
        trust: That trust.
    """

    solution: Solution
    file: planfile.Plan
    runs: Mapping[str, ModelRun]
    asked: Asked
    trust: Trust

    @property
    def simulated(self) -> planfile.Simulated:
        """What became of it."""
        if self.file.simulated is None:
            raise TypeError("a plan that was made was carried out")
        return self.file.simulated

    @property
    def held(self) -> bool:
        """Whether it kept every promise."""
        return self.simulated.kept

    @property
    def usd(self) -> float:
        """What it cost when it was carried out, the price of carbon in it."""
        return self.simulated.total_usd + self.simulated.carbon_usd

    @property
    def gap(self) -> float:
        """How far that is above the bound."""
        return self.usd / self.file.bound_usd - 1 if self.file.bound_usd else 0.0


def make(asked: Asked, promised: Promised, options: PlanOptions, progress: Progress) -> Made:
    """Return the cheapest plan found that keeps every promise when it is carried out.

    Args:
        asked: The problem.
        promised: The requests' promises, for the file.
        options: Effort, and what the file records.
        progress: Told of every round.

    Raises:
        InfeasibleError: None was found; says which promise stops it, and what would help.
    """

    def attempt(trust: Trust, effort: Effort, round_number: int, last: Made | None = None) -> Made:
        trusted = trusting(asked, trust)
        solution = find_plan(trusted.problem, effort)
        file = _file(solution, trusted, promised, options)
        if last is not None and _alike(file, last.file):
            simulated, runs = last.simulated, last.runs
        else:
            progress(f"carrying the plan out, round {round_number}: {format_usd(solution.usd)}")
            simulated, runs = carry_out(file, trusted.loads, trusted.machines, trusted.tokens, seed=options.seed)
        file = structs.replace(file, simulated=structs.replace(simulated, rounds=round_number))
        return Made(solution=solution, file=file, runs=runs, asked=trusted, trust=trust)

    rough = replace(options.effort, time_limit_s=options.effort.time_limit_s * _ROUGH, gap=_ROUGH_GAP)
    trust = before = Trust(burst=_first_bursts(asked, progress))
    last: Made | None = None
    bounds_usd: list[float] = []
    for round_number in range(1, _MOST_ROUNDS + 1):
        progress(f"planning, round {round_number}")
        made = last = attempt(trust, rough, round_number, last)
        bounds_usd.append(made.file.bound_usd)
        if made.held:
            break
        before, trust = trust, _less(trust, made, options)
    else:
        raise _does_not_hold(made.simulated)
    many = sum(len(load) for load in asked.loads.values()) >= _MANY_REQUESTS
    halvings = 1 if many else _HALVINGS
    for _ in range(halvings if before.seats != trust.seats else 0):
        progress("planning, half a step back")
        nearer = _between(before, trust)
        tried = attempt(nearer, rough, round_number)
        made = _cheaper(made, tried)
        before, trust = (before, nearer) if tried.held else (nearer, trust)
    for _ in range(1 if many else _FULL_EFFORTS):
        if made.gap <= (_ENOUGH_OF_MANY if many else _ENOUGH):
            break
        progress("planning, to the full effort")
        tried = attempt(trust, options.effort, round_number)
        made = _cheaper(made, tried)
        if tried.held:
            break
        trust = _between(trust, _less(trust, tried, options))
    first_bound_usd = min(bounds_usd[0], made.file.bound_usd)
    return replace(made, file=structs.replace(made.file, first_bound_usd=first_bound_usd))


def _alike(one: planfile.Plan, other: planfile.Plan) -> bool:
    """Whether two plans come to the same: the same machines at the same times, paid and bought alike."""
    first, second = ((each.pools, each.schedule, each.commitments, _bought(each)) for each in (one, other))
    return first == second


def _bought(file: planfile.Plan) -> list[planfile.Route]:
    """Return all routes where some lead to token APIs: which requests are bought depends on the rest, too."""
    return file.routes if any(route.kind == "tier" for route in file.routes) else []


def _cheaper(first: Made, second: Made) -> Made:
    """Return the cheaper of two, of which the first held; what was proven of the same programme holds for both."""
    cheaper = second if second.held and second.usd <= first.usd else first
    if first.trust is not second.trust:
        return cheaper
    bound_usd = max(first.file.bound_usd, second.file.bound_usd)
    return replace(cheaper, file=structs.replace(cheaper.file, bound_usd=bound_usd))


def _between(before: Trust, after: Trust) -> Trust:
    """Return the trust half way back to what broke a promise: the last step may have been too long."""
    return replace(after, seats=math.sqrt(before.seats * after.seats))


def _first_bursts(asked: Asked, progress: Progress) -> dict[str, Floats]:
    """Return what the traffic's bursts ask for, by workload, found on the replica with the cheapest work."""
    horizon, found = asked.problem.horizon, {}
    for model, load in asked.loads.items():
        for each in realtime_classes_of(load, model if asked.several else ""):
            lane = load.only(each.members)
            progress(f"measuring the bursts of {each.name}")
            pools = [site for site in asked.sites.values() if site.pool.model == model and site.serving.realtime]
            mine = [site for site in pools if each.may_use(site.pool)] or pools
            serving = min((site.serving for site in mine), key=lambda one: one.machine.usd_of_work(lane))
            found[each.name] = bursts_for(lane, serving, horizon.slot_s, horizon.slots)
    return found


def _less(trust: Trust, made: Made, options: PlanOptions) -> Trust:
    """Return less trust in what broke a promise: tried by carrying the plan out with real-time work alone."""
    if made.simulated.deadlines_missed:
        problem = made.solution.problem
        pools = {pool.name: pool for pool in problem.pools}
        room = less_room(made.runs.values(), pools, made.asked.machines, problem.horizon)
        return replace(trust, room={**trust.room, **room}) if room else replace(trust, full=trust.full * _FULL_STEP)
    lanes = {model: load.only(~load.deferrable) for model, load in made.asked.loads.items()}
    alone, runs = carry_out(made.file, lanes, made.asked.machines, made.asked.tokens, seed=options.seed)
    if alone.kept and 1 - (alone.slo_attainment or 0.0) <= _ALONE * _may_break(made):
        return replace(trust, seats=trust.seats * _seats_step(made, trust.seats))
    burst = dict(trust.burst)
    for model, run in runs.items():
        if alone.kept or not run.attained:
            burst |= _bursts(made, model, run, burst)
    return replace(trust, burst=burst)


def _seats_step(made: Made, before: float) -> float:
    """Return the factor on the seats of deferrable work: the smaller, the further the SLO is from being kept.

    It is the smaller, too, the more seats were taken before: beside bursts few seats do nearly as much harm as many.
    """
    broken = 1 - (made.simulated.slo_attainment or 0.0)
    step = np.clip((_may_break(made) / broken) ** _SEATS_POWER if broken > 0 else 1.0, _FEWEST_SEATS, _SEATS_STEP)
    return float(step ** (1 + _PERSISTENT * np.log(before) / np.log(_SEATS_STEP)))


def _may_break(made: Made) -> float:
    return min(1 - strictest(load) for load in made.asked.loads.values())


def _bursts(made: Made, model: str, run: ModelRun, before: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the bursts that ask for more machines in the slots where most requests broke the SLO, by workload."""
    file, solution, load = made.file, made.solution, run.load
    broken = (run.ttft_s > load.ttft_limit_s) | (run.tpot_s > load.tpot_limit_s)
    pools = {pool.name: pool for pool in solution.problem.pools if pool.model == model and len(pool.safe_load) > 1}
    rented = sorted({one.pool for one in file.schedule if one.realtime} & set(pools))
    demands = {one.name: one for one in solution.problem.workloads}
    found: dict[str, Floats] = {}
    for each in realtime_classes_of(load, model if made.asked.several else ""):
        serving = [name for name in rented if each.may_use(pools[name])]
        if not serving or not broken[each.members].any():
            continue
        # Where several pools share a slot, it is the one with most of it that grows.
        there = np.array([realtime_load(solution, name) for name in serving])
        most = np.argmax(there, axis=0)
        slots = np.arange(file.slots)
        machines = np.array([_machines(file, name) for name in serving])
        work_s = np.array([demands[each.name].work_s[pools[name].replica] for name in serving])
        found[each.name] = raised(
            before[each.name],
            mean=work_s[most, slots] / file.slot_s,
            there=there[most, slots],
            machines=machines[most, slots],
            safe=lambda t, serving=serving, most=most: pools[serving[most[t]]].safe_load,  # type: ignore[misc]
            slot=np.minimum((load.arrived_s[each.members] / file.slot_s).astype(np.int64), file.slots - 1),
            broken=broken[each.members],
            attainment=strictest(load),
        )
    return found


def _machines(file: planfile.Plan, pool: str) -> NDArray[np.int64]:
    """Return the machines of a pool that serve real-time work, of all payments, shape (slots,)."""
    return np.asarray(np.sum([one.machines for one in file.schedule if one.pool == pool and one.realtime], axis=0))


def _does_not_hold(simulated: planfile.Simulated) -> InfeasibleError:
    broken: list[str] = []
    if simulated.slo_attainment is not None:
        broken.append(f"the SLO is kept for {format_share(simulated.slo_attainment, 1)} of real-time requests")
    if simulated.deadlines_missed:
        broken.append(f"{simulated.deadlines_missed:,} deadlines are missed")
    return InfeasibleError(
        f"no plan held when it was simulated: after {_MOST_ROUNDS} rounds {' and '.join(broken)}",
        where="plan",
        fix="give more patience, shorter slots (--slot), a looser SLO, or faster hardware",
    )


def _file(solution: Solution, asked: Asked, promised: Promised, options: PlanOptions) -> planfile.Plan:
    file = to_file(solution)
    if asked.committed is not None:
        file = asked.committed.in_file(file)
    pools = [_with_engine(pool, asked.sites[pool.name]) for pool in file.pools]
    return structs.replace(file, pools=pools, promises=promises_of(promised, options))


def _with_engine(pool: planfile.PoolUsed, site: Site) -> planfile.PoolUsed:
    """Add how the engines of a pool run; the start-up is the machine's own, without the tail that plans add."""
    machine, backfill = site.serving.machine, site.serving.backfill
    replica = machine.profile.replica
    return structs.replace(
        pool,
        engine=replica.engine,
        precision=replica.precision,
        replica_gpus=replica.gpus,
        max_num_seqs=machine.limits.max_num_seqs,
        max_num_batched_tokens=machine.limits.max_num_batched_tokens,
        backfill_seats=backfill.seats,
        backfill_tokens=backfill.tokens,
        backfill_kv_share=backfill.kv_share,
        startup_paid_s=machine.startup_paid_s,
    )


def promises_of(promised: Promised, options: PlanOptions) -> planfile.Promises:
    """Return how requests come to their promises, as the file records it."""
    slo = options.promise
    return planfile.Promises(
        slo=planfile.Slo(ttft_s=slo.ttft_s, tpot_s=slo.tpot_s, attainment=slo.attainment),
        defer=list(options.defer),
        workloads=[
            planfile.Rule(
                name=one.name,
                lane=one.lane.value,
                deadline=one.deadline if one.lane is Lane.DEFERRABLE else "",
                slo=None
                if one.slo is None
                else planfile.Slo(ttft_s=one.slo.ttft_s, tpot_s=one.slo.tpot_s, attainment=one.slo.attainment),
                match=list(one.match),
                allow=one.access.allow,
                deny=one.access.deny,
            )
            for one in promised.declared
        ],
        model=options.model,
        seed=options.seed,
        scale=options.scale,
        start=options.start,
        end=options.end,
        profile="" if options.profile is None else str(options.profile.resolve()),
        roofline=options.roofline,
    )
