"""Walk forward: fit a policy to the past days, run it on the next, which it has not seen, and so on.

Each day is simulated by itself. Machines that the load of the hour before midnight needs are on at its beginning, and
what may wait beyond its end is served after it, on machines that this day pays for.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from meritorder.study.fleet.fleets import rejudge
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import Progress
from meritorder.study.forward.baseline import PastBaseline, RealtimePolicy
from meritorder.study.forward.coming import Coming, floor_of, forecast_coming
from meritorder.study.forward.days import split_days
from meritorder.study.forward.fit import ChosenPolicy, PolicyFit
from meritorder.study.forward.forecast import (
    DAYS_PER_WEEK,
    ForecastScore,
    day_type,
    score_forecast,
)
from meritorder.study.forward.history import History
from meritorder.study.forward.policy import FleetPolicy
from meritorder.study.forward.seasonal import MethodScores
from meritorder.study.forward.simulations import Simulations
from meritorder.units import SECONDS_PER_DAY

# Days from which on one can be judged: one to fit to, and one to run on.
_MIN_DAYS: Final = 2
# Quantiles of the interval of daily savings.
_INTERVAL: Final = (0.1, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkDay:
    """A day that the policy had not seen.

    Args:
        index: Days since the trace's first.
        requests: Requests of the day.
        policy: Description of the policy.
        policy_usd: What the policy paid.
        baseline: Description of real time.
        baseline_usd: What real time paid, sized on the days before.
        best_usd: The least that any simulated policy would have paid, known afterwards; None if none kept its promises.
        slo_attainment: Share of real-time requests that met their SLO, None if there are none.
        slo_kept: Whether every workload's SLO was met.
        baseline_slo_kept: Whether real time met them, with all requests in real time.
        deadlines_missed: Deferrable requests that finished late or never.
        baseline_deadlines_missed: The same where all requests were served in real time.
        forecast: How well the load of the slots was forecast; None without a forecast.
    """

    index: int
    requests: int
    policy: str
    policy_usd: float
    baseline: str
    baseline_usd: float
    best_usd: float | None
    slo_attainment: float | None
    slo_kept: bool
    baseline_slo_kept: bool
    deadlines_missed: int
    baseline_deadlines_missed: int
    forecast: ForecastScore | None

    @property
    def saving_share(self) -> float:
        """Share of the baseline that was saved."""
        return 1 - self.policy_usd / self.baseline_usd if self.baseline_usd > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnseenDays:
    """All days that the policies had not seen.

    Args:
        days: The days.
        left_out: Indices of the days with a hole in their log, and the length of the hole.
        policy: The policy for the day after the last, fitted to all days.
        floor: Fewest machines in each slot of a day, or of a week if the trace covers one, from midnight of the first
            day on; empty without a floor. With days to come, in each slot of these.
        scores: How good each method of forecasting was.
        best_usd: The least that any simulated policy paid on each day, the first among them, by index; None if none
            kept its promises.
        coming: The days to come, if any are asked for.
    """

    days: tuple[WalkDay, ...]
    left_out: dict[int, float]
    policy: FleetPolicy | RealtimePolicy
    floor: tuple[int, ...]
    scores: MethodScores
    best_usd: Mapping[int, float | None] = field(default_factory=dict)
    coming: Coming | None = None

    @property
    def policy_usd(self) -> float:
        """What the policies paid."""
        return sum(day.policy_usd for day in self.days)

    @property
    def baseline_usd(self) -> float:
        """What real time paid."""
        return sum(day.baseline_usd for day in self.days)

    @property
    def regret_usd(self) -> float:
        """What was paid beyond the best policy known afterwards."""
        return sum(day.policy_usd - day.best_usd for day in self.days if day.best_usd is not None)

    @property
    def saving_share(self) -> float:
        """Share of the baseline that was saved."""
        return 1 - self.policy_usd / self.baseline_usd if self.baseline_usd > 0 else 0.0

    @property
    def saving_interval(self) -> tuple[float, float]:
        """Saving that nine in ten days exceeded, and that nine in ten stayed below."""
        shares = [day.saving_share for day in self.days]
        lower, upper = np.quantile(shares, _INTERVAL).tolist()
        return lower, upper

    @property
    def slo_days(self) -> int:
        """Days on which every SLO was met."""
        return sum(day.slo_kept for day in self.days)

    @property
    def slo_attainment(self) -> float | None:
        """Share of real-time requests that met their SLO, weighted by the requests of each day."""
        known = [(day.slo_attainment, day.requests) for day in self.days if day.slo_attainment is not None]
        if not known:
            return None
        shares, weights = zip(*known, strict=True)
        return float(np.average(shares, weights=weights))

    @property
    def deadlines_missed(self) -> int:
        """Deferrable requests that finished late or never."""
        return sum(day.deadlines_missed for day in self.days)


def walk_forward(
    load: TraceLoad,
    machines: Sequence[CandidateMachine],
    *,
    batch_machines: Sequence[CandidateMachine] = (),
    epoch_s: float | None = None,
    holidays: frozenset[str] = frozenset(),
    coming_days: int = 0,
    progress: Progress = lambda _: None,
) -> UnseenDays | None:
    """Judge the policy out of sample on each day of a trace but the first; None if there are fewer than two days.

    Args:
        load: The requests.
        machines: Machines for real time.
        batch_machines: Machines for deferrable work; the same without any.
        epoch_s: Unix time of time 0; None if the trace has no dates.
        holidays: Dates that are forecast as Sundays.
        coming_days: Days after the last one to forecast.
        progress: Receives each step.

    Raises:
        InfeasibleError: No fleet keeps the SLO on the first day.
    """
    days = split_days(load, epoch_s, holidays)
    whole = [day for day in days if day.hole_s == 0 and len(day.load)]
    if len(whole) < _MIN_DAYS:
        return None
    history = History(days=whole, machines=machines)
    simulations = Simulations(history=history, batch_machines=batch_machines or machines, progress=progress)
    fit = PolicyFit(history=history, simulations=simulations, progress=progress)
    baseline = PastBaseline(days=whole, machines=machines, progress=progress)
    judged = [_judge(place, history, fit, baseline) for place in range(1, len(whole))]
    fitted = fit.or_realtime(fit.fit(len(whole)), baseline, baseline.choose(len(whole)), len(whole))
    coming = None
    if coming_days:
        progress("simulating the coming days")
        midnight_s = None if epoch_s is None else epoch_s - epoch_s % SECONDS_PER_DAY
        coming = forecast_coming(history, fitted, baseline, days=coming_days, midnight_s=midnight_s, holidays=holidays)
    best_usd = [simulations.best_usd(place) for place in range(len(whole))]
    return UnseenDays(
        days=tuple(_with_best(day, usd) for day, usd in zip(judged, best_usd[1:], strict=True)),
        left_out={day.index: day.hole_s for day in days if day.hole_s > 0},
        policy=fitted.policy,
        floor=floor_of(coming) if coming else _next_floor(history, fitted, epoch_s, holidays),
        scores=history.scores(fitted.machine, len(whole)),
        best_usd={day.index: usd for day, usd in zip(whole, best_usd, strict=True)},
        coming=coming,
    )


def _with_best(day: WalkDay, best_usd: float | None) -> WalkDay:
    """Return a day with the least that any simulated policy paid, its own included, if it kept every promise."""
    own = [day.policy_usd] if day.slo_kept and not day.deadlines_missed else []
    return replace(day, best_usd=min([*own, *([] if best_usd is None else [best_usd])], default=None))


def _next_floor(
    history: History, fitted: ChosenPolicy, epoch_s: float | None, holidays: frozenset[str]
) -> tuple[int, ...]:
    """Return the floor of the days to come: of each weekday if a whole week is known, else of one day."""
    days, machine = history.days, fitted.machine
    midnight_s = None if epoch_s is None else epoch_s - epoch_s % SECONDS_PER_DAY
    coming = range(DAYS_PER_WEEK) if len(days) >= DAYS_PER_WEEK else [days[-1].index + 1]
    kinds = [day_type(index, midnight_s, holidays) for index in coming]
    floors = [fitted.policy.floor(history.forecast_coming(machine, kind)) for kind in kinds]
    return tuple(machines for floor in floors for machines in floor)


def _judge(place: int, history: History, fit: PolicyFit, baseline: PastBaseline) -> WalkDay:
    """Run on a day what was fitted to the days before it."""
    day = history.days[place]
    with ThreadPoolExecutor(max_workers=1) as background:
        choosing = background.submit(baseline.choose, place)
        fitted, arrangement = fit.fit(place), choosing.result()
    realtime = baseline.run(arrangement, place)
    chosen = fit.or_realtime(fitted, baseline, arrangement, place)
    if isinstance(chosen.policy, RealtimePolicy):
        trial = rejudge(realtime, day.load, "policy", chosen.policy.label)
    else:
        trial = fit.simulations.run(fitted.design, fitted.level, chosen.policy, place)
    machine = chosen.machine
    forecast = history.forecast(machine, place)
    return WalkDay(
        index=day.index,
        requests=len(day.load),
        policy=chosen.policy.label,
        policy_usd=trial.usd,
        baseline=realtime.label,
        baseline_usd=realtime.usd,
        best_usd=None,
        slo_attainment=trial.slo_attainment,
        slo_kept=day.load.slo_attainment(trial.ttft_s, trial.tpot_s)[1],
        baseline_slo_kept=realtime.feasible,
        deadlines_missed=trial.deadlines_missed,
        baseline_deadlines_missed=day.load.deadlines_missed(realtime.result.finished_s),
        forecast=score_forecast(forecast, history.loads(machine, place)) if forecast else None,
    )
