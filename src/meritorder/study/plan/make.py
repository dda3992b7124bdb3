"""Make a plan: solve, carry it out, trust the machines less where a promise breaks, and solve again."""

import math
from dataclasses import replace
from typing import Final

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder import planfile
from meritorder.errors import InfeasibleError
from meritorder.planner.export import to_file
from meritorder.planner.solve.search import Effort, find_plan
from meritorder.planner.solve.solution import Solution
from meritorder.study.fleet.options import Progress
from meritorder.study.fleet.workloads import AssignedTrace
from meritorder.study.plan.check import carry_out
from meritorder.study.plan.derating import as_seen, between, first_bursts, less, with_more_room
from meritorder.study.plan.made import Made, alike, cheaper, leaves_work
from meritorder.study.plan.options import PlanOptions
from meritorder.study.plan.problem import Asked, Trust, trusting
from meritorder.study.plan.seats import Filling
from meritorder.study.plan.supply import Site
from meritorder.units import format_share, format_usd

Floats = NDArray[np.float64]

_MOST_ROUNDS: Final = 20
# The last step is halved so many times; once for loads of so many requests.
_HALVINGS: Final = 2
_MANY_REQUESTS: Final = 5_000_000
# They end where one that held makes a plan cheaper by less than this share.
_WORTH: Final = 0.002
# So often room that slots lost is tried to be given back.
_TRIES_WITH_ROOM: Final = 2
# Share of the effort that rounds get before a plan has held.
_ROUGH: Final = 0.2
_ROUGH_GAP: Final = 0.02
# How often all of it is spent: what is cheaper may break a promise that the rough plan kept, and is trusted less then.
_FULL_EFFORTS: Final = 2
# A plan that is simulated within this of its bound is good enough; of so many requests, whose every round takes a
# third of a minute, within that.
_ENOUGH: Final = 0.01
_ENOUGH_OF_MANY: Final = 0.03


def make(asked: Asked, promised: AssignedTrace, options: PlanOptions, progress: Progress) -> Made:
    """Return the cheapest plan found that keeps every promise when it is carried out.

    Args:
        asked: The problem.
        promised: The requests' promises, for the file.
        options: Effort, and what the file records.
        progress: Told of every round.

    Raises:
        InfeasibleError: None was found; says which promise stops it, and what would help.
    """
    tries = _Tries(asked, promised, options, progress)
    before, made = _until_it_holds(tries, Trust(burst=first_bursts(asked, progress)))
    made, trust = _less_than_a_step(tries, before, made)
    made, trust = _more_room(tries, made, trust)
    made = _to_full_effort(tries, made, trust)
    first_bound_usd = min(tries.first_bound_usd, made.file.bound_usd)
    return replace(made, file=structs.replace(made.file, first_bound_usd=first_bound_usd))


class _Tries:
    """Solves, and carries out what comes out of it.

    Args:
        asked: The problem.
        promised: The requests' promises.
        options: Effort, and what the file records.
        progress: Told of every plan that is carried out.
    """

    def __init__(self, asked: Asked, promised: AssignedTrace, options: PlanOptions, progress: Progress) -> None:
        self.options = options
        self.progress = progress
        self.many = sum(len(load) for load in asked.loads.values()) >= _MANY_REQUESTS
        self.rough = replace(options.effort, time_limit_s=options.effort.time_limit_s * _ROUGH, gap=_ROUGH_GAP)
        self.round = 0
        self.first_bound_usd = math.inf
        self._asked = asked
        self._promised = promised
        self._filling = Filling(asked.loads)

    def plan(self, trust: Trust, effort: Effort, last: Made | None = None) -> Made:
        """Return the plan with so much trust; where it comes to the last one, what became of that."""
        trusted = trusting(self._asked, trust, self._filling)
        solution = find_plan(trusted.problem, effort)
        file = _file(solution, trusted, self._promised, self.options)
        if last is not None and alike(file, last.file):
            simulated, runs = last.simulated, last.runs
        else:
            self.progress(f"carrying the plan out, round {self.round}: {format_usd(solution.usd)}")
            loads, machines, tokens = trusted.loads, trusted.machines, trusted.tokens
            simulated, runs = carry_out(file, loads, machines, tokens, seed=self.options.seed)
        file = structs.replace(file, simulated=structs.replace(simulated, rounds=self.round))
        return Made(solution=solution, file=file, runs=runs, asked=trusted, trust=trust)


def _until_it_holds(tries: _Tries, trust: Trust) -> tuple[Trust, Made]:
    """Return the first plan that holds, solved roughly, and the trust before the last step to it.

    Raises:
        InfeasibleError: None holds.
    """
    before, held, last = trust, None, None
    for tries.round in range(1, _MOST_ROUNDS + 1):
        tries.progress(f"planning, round {tries.round}")
        made = last = tries.plan(trust, tries.rough, last)
        if tries.round == 1:
            tries.first_bound_usd = made.file.bound_usd
        if made.held and (held or not leaves_work(made)):
            return before, made
        if made.held:
            held, trust = made, as_seen(trust, made)
        else:
            before, trust = trust, less(trust, made, tries.options)
    if held is None:
        raise _does_not_hold(made.simulated)
    return held.trust, held


def _less_than_a_step(tries: _Tries, before: Trust, made: Made) -> tuple[Made, Trust]:
    """Return the plan with a part of the last step in seats taken back, if it holds; and the trust that held last."""
    trust = made.trust
    halvings = 1 if tries.many else _HALVINGS
    for _ in range(halvings if before.seats is not trust.seats else 0):
        tries.progress("planning, half a step back")
        nearer = between(before, trust)
        tried = tries.plan(nearer, tries.rough)
        worth = not tried.held or tried.usd < made.usd * (1 - _WORTH)
        made = cheaper(made, tried)
        before, trust = (before, nearer) if tried.held else (nearer, trust)
        if not worth:
            break
    return made, trust


def _more_room(tries: _Tries, made: Made, trust: Trust) -> tuple[Made, Trust]:
    """Return the plan with half of the room back that slots lost, if it holds, with less of something else if need be.

    What slots lost before seats were cut may have been more than enough after it.
    """
    more = with_more_room(trust)
    for _ in range(0 if not trust.room else 1 if tries.many else _TRIES_WITH_ROOM):
        tries.progress("planning, with more room")
        tried = tries.plan(more, tries.rough)
        if tried.held and tried.usd < made.usd:
            return tried, more
        if tried.held:
            break
        more = less(more, tried, tries.options)
    return made, trust


def _to_full_effort(tries: _Tries, made: Made, trust: Trust) -> Made:
    """Return the plan solved with all of the effort, if it is cheaper and holds."""
    for _ in range(1 if tries.many else _FULL_EFFORTS):
        if made.gap <= (_ENOUGH_OF_MANY if tries.many else _ENOUGH):
            break
        tries.progress("planning, to the full effort")
        tried = tries.plan(trust, tries.options.effort)
        made = cheaper(made, tried)
        if tried.held:
            break
        trust = between(trust, less(trust, tried, tries.options))
    return made


def _does_not_hold(simulated: planfile.PlanOutcome) -> InfeasibleError:
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


def _file(solution: Solution, asked: Asked, promised: AssignedTrace, options: PlanOptions) -> planfile.Plan:
    file = to_file(solution)
    if asked.committed is not None:
        file = asked.committed.in_file(file)
    pools = [_with_engine(pool, asked.sites[pool.name], asked.seats.get(pool.model)) for pool in file.pools]
    return structs.replace(file, pools=pools, promises=promises_of(promised, options))


def _with_engine(pool: planfile.PlanPool, site: Site, seats: Floats | None) -> planfile.PlanPool:
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
        backfill_seats=backfill.sequences,
        backfill_tokens=backfill.prefill_tokens,
        backfill_kv_share=backfill.kv_share,
        backfill_shares=[] if seats is None or not backfill.sequences else np.round(seats, 4).tolist(),
        startup_paid_s=machine.startup_paid_s,
    )


def promises_of(promised: AssignedTrace, options: PlanOptions) -> planfile.Promises:
    """Return how requests come to their promises, as the file records it."""
    return planfile.Promises(
        slo=options.default_slo,
        defer=list(options.defer),
        workloads=[planfile.DeclaredWorkload.from_workload(workload) for workload in promised.declared],
        model=options.model,
        seed=options.seed,
        scale=options.scale,
        start=options.start,
        end=options.end,
        profile="" if options.profile is None else str(options.profile.resolve()),
        roofline=options.roofline,
    )
