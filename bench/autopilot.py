"""A week under the autopilot, replayed day by day on simulated venues: cost against refits, SLO, and wrong forecasts.

Demand rises by 60 % on day 3, another cloud becomes 40 % cheaper on day 5, and engines slow down by a third on day 6.
The autopilot is told nothing: it sees the ledger of each day after it. It is compared with the same family of policies
fitted at each shift to the days before and those until the next shift, at their true prices and speed, and with the
first plan, kept all week.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from tests.samples.fleets import profile

from meritorder import catalog
from meritorder.domain import BackfillLimits, Slo
from meritorder.gateway.config import AutopilotTable, BudgetTable
from meritorder.offers import machine_id
from meritorder.perf.shipped import to_toml
from meritorder.records.autopilot import APPLIED, Decision
from meritorder.records.planfile import Plan, PlanPool, PoolSchedule, Promises
from meritorder.records.planpolicy import BacklogRule, Policy, PolicyFloor, ReactiveRule
from meritorder.study.autopilot.decide import Pilot
from meritorder.study.autopilot.judge import Judged, judge, price_now, repriced
from meritorder.study.autopilot.observation import observe
from meritorder.study.autopilot.options import parse_options
from meritorder.study.fleet.machines import CandidateMachine, find_machines, unrestricted_backfill
from meritorder.study.fleet.options import Progress
from meritorder.study.fleet.workloads import assign_workloads
from meritorder.study.forward.days import split_days
from meritorder.study.forward.fit import fit_policy
from meritorder.study.forward.history import History
from meritorder.study.forward.policy import SLOT_S
from meritorder.study.schedule.options import PlanOptions
from meritorder.traces import Trace
from meritorder.traces.read import read_trace
from meritorder.traces.trace import scaled
from meritorder.units import SECONDS_PER_DAY

_START_S: Final = 1_793_577_600.0  # 2026-11-02, a Monday
_MODEL: Final = "llama-3.1-8b"
_SLO: Final = Slo(ttft_s=30.0, tpot_s=1.0, attainment=0.95)
_PATIENCE_S: Final = 7200.0
_PACE_S: Final = 0.42
_USD: Final = 2.0
_SPEED: Final = 1 / 40
"""Half a second a step, so that a few thousand requests a day need several machines."""
_PAYMENT: Final = "on demand"
_CLOUDS: Final = ("bench-cloud", "rival-cloud")
MAX_COST: Final = 1.15
"""Cost of the autopilot at most, as a multiple of the refits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """The truth of a day: demand and time per step as multiples of the history's, and the other cloud's price."""

    demand: float = 1.0
    rival_usd: float = 2.4
    slower: float = 1.0


WEEK: Final = (
    *(Day(),) * 2,
    *(Day(demand=1.6),) * 2,
    Day(demand=1.6, rival_usd=1.2),
    *(Day(demand=1.6, rival_usd=1.2, slower=4 / 3),) * 2,
)


@dataclass(slots=True, kw_only=True)
class World:
    """The requests, prices and engines of the days, and what a plan does on them.

    Args:
        folder: Folder for the profile and the prices.
        history_days: Days before the week.
        requests: Requests of an ordinary day.
        week: The days.
        rows: The ledger of each day, the history first, as if engines always had the same speed.
    """

    folder: Path
    history_days: int
    requests: int
    week: Sequence[Day]
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    rows: list[pl.DataFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "profile.toml").write_text(to_toml([profile(faster=_SPEED)]))
        truths = [*[Day()] * self.history_days, *self.week]
        self.rows = [self._requests(number, round(day.demand * self.requests)) for number, day in enumerate(truths)]

    def set_prices(self, day: Day) -> None:
        """Set the prices of a day."""
        (self.folder / "prices.toml").write_text(_offer("bench-cloud", _USD) + _offer("rival-cloud", day.rival_usd))

    def options(self, slower: float = 1.0) -> PlanOptions:
        """Return the options of a plan with a speed of the engines."""
        return PlanOptions(
            model=_MODEL,
            hardware=("h100",),
            providers=_CLOUDS,
            profile=self.folder / "profile.toml",
            max_num_seqs=4,
            max_num_batched_tokens=2048,
            slo=_SLO,
            slower=slower,
            terms=(),
            coming_days=1,
            catalogs=self.catalogs,
        )

    @property
    def catalogs(self) -> tuple[Path, ...]:
        """The price list."""
        return (self.folder / "prices.toml",)

    def trace(self, until: int) -> Trace:
        """Return the requests of the history and the first days of the week."""
        return read_trace(pl.concat(self.rows[: self.history_days + until]), format="ledger")

    def serve(self, known: Plan, number: int) -> Judged:
        """Return what a plan does on a day of the week, at that day's price and speed."""
        day = self.week[number]
        self.set_prices(day)
        priced = repriced(known, price_now(known, catalog.load(self.catalogs)))
        requests = read_trace(self.rows[self.history_days + number], format="ledger")
        return judge("the day", priced, requests, slower=day.slower, catalogs=self.catalogs)

    def ledger(self, number: int, served: Judged) -> pl.DataFrame:
        """Return the rows of a day as the gateway would have written them."""
        outcome = next(iter(served.replay.models.values()))
        assert outcome.result is not None  # noqa: S101 - machines served
        rows = self.rows[self.history_days + number].sort("arrived_s")
        first_s, zero_s = outcome.result.first_token_s, float(rows["arrived_s"][0])
        finished = np.nan_to_num(outcome.result.finished_s, nan=SECONDS_PER_DAY) + zero_s
        return rows.with_columns(
            ttft_s=pl.Series(np.where(outcome.load.deferrable, np.nan, first_s - outcome.load.arrived_s)).fill_nan(
                None
            ),
            started_s=pl.Series(np.nan_to_num(outcome.result.admitted_s, nan=0.0) + zero_s),
            ended_s=pl.Series(finished),
        )

    def _requests(self, number: int, count: int) -> pl.DataFrame:
        """Return the ledger of a day: twice as busy at noon as on average, a third of it deferrable."""
        times = self._random.uniform(0, SECONDS_PER_DAY, 4 * count)
        shape = 1 - 0.8 * np.cos(2 * np.pi * times / SECONDS_PER_DAY)
        arrived = np.sort(times[self._random.uniform(0, 1.8, len(times)) < shape][:count]) + number * SECONDS_PER_DAY
        waits = self._random.random(count) < 1 / 3
        arrived_s = _START_S + arrived
        output = self._random.integers(200, 600, count)
        return pl.DataFrame(
            {
                "request_id": [f"req_{number}_{place}" for place in range(count)],
                "lane": np.where(waits, "deferrable", "realtime"),
                "workload": np.where(waits, "bulk", "chat"),
                "model": [_MODEL] * count,
                "venue": ["gpu"] * count,
                "outcome": ["completed"] * count,
                "arrived_s": arrived_s,
                "started_s": arrived_s,
                "ended_s": arrived_s + _PACE_S * output,
                "ttft_s": np.ones(count),
                "deadline_s": pl.Series(np.where(waits, arrived_s + _PATIENCE_S, np.nan)).fill_nan(None),
                "status_code": [200] * count,
                "input_tokens": self._random.integers(200, 1200, count),
                "cached_tokens": np.zeros(count, np.int64),
                "output_tokens": output,
                "lost_tokens": np.zeros(count, np.int64),
                "cost_picousd": pl.Series([None] * count, dtype=pl.Int64),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A week under the autopilot.

    Args:
        days: What was paid and kept on each day.
        decisions: What it decided at the end of each.
    """

    days: list[Judged]
    decisions: list[Decision]

    @property
    def usd(self) -> float:
        """What was paid."""
        return sum(day.replay.outcome.total_usd for day in self.days)


def fly(
    world: World, first: Plan, budgets: list[BudgetTable], *, forecast_error: float = 1.0, sees_bill: bool = True
) -> Flight:
    """Replay a week under the autopilot.

    Args:
        world: The week.
        first: The plan that is in force on the first day.
        budgets: What it may change.
        forecast_error: It believes that demand is this many times what it was.
        sees_bill: Whether it sees what was paid, and so that its forecasts are wrong.
    """
    table = AutopilotTable(mode="apply", ahead="1d", providers=list(_CLOUDS), budget=budgets)
    options = parse_options(table, Path("bench"), world.catalogs)
    pilot = Pilot(options=options, planner=fit_plan)
    in_force, before, past, days = first, None, list[Decision](), list[Judged]()
    known = pl.concat([world.rows[number] for number in range(world.history_days)])
    for number in range(len(world.week)):
        days.append(world.serve(in_force, number))
        known = pl.concat([known, world.ledger(number, days[-1])], how="vertical_relaxed")
        now_s = _START_S + (world.history_days + number + 1) * SECONDS_PER_DAY
        paid_usd = days[-1].alternative.usd_per_day if sees_bill else None
        seen = observe(known, now_s=now_s, paid_usd_per_day=paid_usd, queued=0)
        if forecast_error != 1.0:
            seen = replace(seen, trace=scaled(seen.trace, forecast_error, seed=1))
        weighed = pilot.decide(seen, in_force, past, before)
        if weighed is None:
            continue
        past.append(weighed.decision)
        if weighed.decision.outcome == APPLIED:
            before, in_force = in_force, weighed.plan
    return Flight(days=days, decisions=past)


def refit(world: World, first: Plan) -> list[Judged]:
    """Replay the week under policies that are fitted at each shift, with the days until the next one."""
    days: list[Judged] = []
    in_force = first
    for number, day in enumerate(world.week):
        if number and day != world.week[number - 1]:
            until = next(
                (later for later in range(number, len(world.week)) if world.week[later] != day), len(world.week)
            )
            world.set_prices(day)
            in_force = fit_plan(world.trace(until), world.options(day.slower))
        days.append(world.serve(in_force, number))
    return days


def replay_week(world: World, budgets: list[BudgetTable]) -> dict[str, Any]:
    """Return the figures of a week: the autopilot, the refits, and the first plan."""
    world.set_prices(Day())
    first = fit_plan(world.trace(0), world.options())
    flown = fly(world, first, budgets)
    refitted = refit(world, first)
    kept = [world.serve(first, number) for number in range(len(world.week))]
    refit_usd, first_usd = (sum(day.replay.outcome.total_usd for day in days) for days in (refitted, kept))
    return {
        "autopilot_usd": flown.usd,
        "refit_usd": refit_usd,
        "first_plan_usd": first_usd,
        "cost_ratio": flown.usd / refit_usd,
        "slo": [day.alternative.slo_attainment or 1.0 for day in flown.days],
        "slo_first_plan": [day.alternative.slo_attainment or 1.0 for day in kept],
        "days_kept": sum(day.alternative.kept for day in flown.days),
        "days_kept_first_plan": sum(day.alternative.kept for day in kept),
        "late": sum(day.alternative.deadlines_missed for day in flown.days),
        "late_first_plan": sum(day.alternative.deadlines_missed for day in kept),
        "usd": [day.replay.outcome.total_usd for day in flown.days],
        "usd_refit": [day.replay.outcome.total_usd for day in refitted],
        "usd_first_plan": [day.replay.outcome.total_usd for day in kept],
        "decisions": [f"{decision.outcome}: {', '.join(decision.reasons)}" for decision in flown.decisions],
    }


def lose_to_wrong_forecasts(world: World, usd_per_day: int, error: float, *, sees_bill: bool) -> dict[str, Any]:
    """Return what a week with a wrong forecast of demand loses against the first plan, and what budgets allow."""
    world.set_prices(Day())
    first = fit_plan(world.trace(0), world.options())
    budgets = [BudgetTable(usd_per_day=Decimal(usd_per_day))]
    flown = fly(world, first, budgets, forecast_error=error, sees_bill=sees_bill)
    kept = [world.serve(first, number) for number in range(len(world.week))]
    lost = [
        mine.replay.outcome.total_usd - base.replay.outcome.total_usd
        for mine, base in zip(flown.days, kept, strict=True)
    ]
    return {
        "lost_usd": sum(lost),
        "most_lost_on_a_day_usd": max(lost),
        "allowed_usd_per_day": usd_per_day,
        "decisions": [f"{decision.outcome}: {', '.join(decision.reasons)}" for decision in flown.decisions],
    }


def fit_plan(trace: Trace, options: PlanOptions, progress: Progress = lambda _: None) -> Plan:
    """Return a plan of the policy that `plan` fits to the days of a trace, without its schedule and its bounds."""
    shelf = catalog.load(options.catalogs)
    model = shelf.find_model(options.model)
    load = assign_workloads(trace, options).load(options)
    machine = min(
        find_machines(shelf, model, load, options, progress), key=lambda candidate: candidate.usd_per_replica_hour
    )
    days = split_days(load, trace.epoch_s)
    policy = fit_policy(days, [machine], [machine], progress)
    history = History(days=days, machines=[machine])
    forecast = history.forecast(0, len(days))
    floor = policy.floor(forecast)
    # The floor's slots are those of a day that begins with the first request of the trace.
    turned = np.roll(np.array(floor, int), -round((trace.epoch_s or 0.0) % SECONDS_PER_DAY / SLOT_S)).tolist()
    cloud = machine.offer.provider
    names = [f"{cloud}, {use}" for use in ("real time", "batch")]
    reactive = ReactiveRule(
        pool=names[0],
        payment=_PAYMENT,
        target_in_flight=policy.target_in_flight,
        minimum=policy.minimum,
        maximum=policy.maximum,
        stabilization_s=policy.stabilization_s,
        initial=policy.machines_for(history.load_before(0, len(days))),
    )
    backlog = BacklogRule(pool=names[1], payment=_PAYMENT, maximum=policy.batch_maximum, margin_s=policy.batch_margin_s)
    return Plan(
        total_usd=0.0,
        planned_usd=0.0,
        bound_usd=0.0,
        hard_bound_usd=0.0,
        gap=0.0,
        slot_s=SLOT_S,
        slots=1,
        pools=[
            _pool(names[0], machine, policy.backfill),
            _pool(names[1], machine, unrestricted_backfill(machine.limits)),
        ],
        schedule=[_row(name, machine) for name in names],
        policy=Policy(
            slot_s=SLOT_S,
            floor=[PolicyFloor(pool=names[0], payment=_PAYMENT, machines=turned)] if turned else [],
            reactive=[reactive],
            backlog=[backlog],
        ),
        routes=[],
        workloads=[],
        commitments=[],
        by_pricing_model={},
        prices=[],
        assumptions=[],
        solve_s=0.0,
        promises=Promises(
            slo=options.default_slo, model=options.model, profile=str(options.profile), slower=options.slower
        ),
        start_epoch_s=trace.epoch_s,
    )


def _pool(name: str, machine: CandidateMachine, backfill: BackfillLimits | None) -> PlanPool:
    limits = backfill or BackfillLimits(sequences=0, prefill_tokens=0, kv_share=1.0)
    return PlanPool(
        name=name,
        model=_MODEL,
        replica=machine.profile.replica.label,
        provider=machine.offer.provider,
        region="",
        machine=machine_id(machine.offer.provider, "", machine.offer.instance),
        hardware=machine.offer.hardware,
        gpus=machine.offer.gpus,
        replicas=machine.replicas,
        startup_s=machine.startup_s,
        startup_paid_s=machine.startup_paid_s,
        engine="vllm",
        precision="bf16",
        max_num_seqs=machine.limits.max_num_seqs,
        max_num_batched_tokens=machine.limits.max_num_batched_tokens,
        backfill_seats=limits.sequences,
        backfill_tokens=limits.prefill_tokens,
        backfill_kv_share=limits.kv_share,
    )


def _row(pool: str, machine: CandidateMachine) -> PoolSchedule:
    return PoolSchedule(
        pool=pool,
        payment=_PAYMENT,
        pricing_model="on_demand",
        usd_per_hour=machine.offer.usd_per_hour,
        minimum_billing_s=machine.offer.minimum_billing_s,
        machines=[0],
        realtime=pool.endswith("real time"),
        deferrable=True,
        usd=0.0,
    )


def _offer(provider: str, usd_per_hour: float) -> str:
    return f"""[[offer]]
provider = "{provider}"
instance = "box"
hardware = "h100"
gpus = 1
pricing_model = "on_demand"
usd_per_hour = {usd_per_hour}
as_of = "2026-11-01"
source = "bench"
"""


def run() -> dict[str, Any]:
    """Replay the week; print and return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder=Path(folder), history_days=7, requests=3000, week=WEEK)
        result = replay_week(world, [BudgetTable(machines="50")])
        for day, figures in enumerate(
            zip(*(result[key] for key in ("usd", "usd_refit", "usd_first_plan", "slo")), strict=True)
        ):
            print(
                f"day {day + 1}: autopilot ${figures[0]:.2f}, refit ${figures[1]:.2f}, first ${figures[2]:.2f}, "
                f"SLO {figures[3]:.1%}"
            )
        for error in (0.4, 1.5, 3.0):
            for sees_bill in (True, False):
                name = f"forecast_x{error:g}" + ("" if sees_bill else "_blind")
                result[name] = lose_to_wrong_forecasts(world, 20, error, sees_bill=sees_bill)
        return result
