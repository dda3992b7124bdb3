"""One decision: why to plan again, what to weigh, and what the budgets and the drift allow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from msgspec import structs

from meritorder import catalog as facts
from meritorder.catalog import Catalog
from meritorder.errors import MeritorderError
from meritorder.records.autopilot import (
    APPLIED,
    KEPT,
    OBSERVED,
    REVERTED,
    STOPPED,
    SUGGESTED,
    Alternative,
    Decision,
    Drift,
    Inputs,
)
from meritorder.records.planfile import Plan
from meritorder.study.autopilot.budgets import Allowance, allowance
from meritorder.study.autopilot.commitments import suggest_commitments
from meritorder.study.autopilot.difference import Row, difference, step_towards
from meritorder.study.autopilot.drift import measure_drift
from meritorder.study.autopilot.judge import Judged, compared, judge, price_now, repriced
from meritorder.study.autopilot.log import next_id
from meritorder.study.autopilot.observation import Observation
from meritorder.study.autopilot.options import APPLY, OBSERVE, AutopilotOptions, planning_options
from meritorder.study.autopilot.triggers import find_reasons, prices_of, row_name
from meritorder.study.fleet.options import Progress
from meritorder.study.schedule.options import PlanOptions
from meritorder.traces import Trace
from meritorder.units import SECONDS_PER_DAY, format_share, format_usd, utc

Planner = Callable[[Trace, PlanOptions, Progress], Plan]

# Days that plans are weighed on.
_JUDGED_DAYS: Final = 7
_IN_FORCE: Final = "the plan in force"
_PROPOSED: Final = "the new plan"
_STEP: Final = "a step towards the new plan"
_BEFORE: Final = "the plan before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A decision, and the plan that it is about.

    Args:
        decision: The decision.
        plan: The chosen plan; that in force where nothing changes.
    """

    decision: Decision
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """Weighs plans.

    Args:
        options: The settings.
        planner: Makes a plan of a trace.
        accepts: Returns why the gateway cannot execute a plan; empty if it can.
        progress: Receives each step.
    """

    options: AutopilotOptions
    planner: Planner
    accepts: Callable[[Plan], str] = lambda _: ""
    progress: Progress = lambda _: None

    def decide(
        self, seen: Observation, in_force: Plan, past: Sequence[Decision], before: Plan | None = None
    ) -> Weighed | None:
        """Return what to do now; None if there is no reason to plan again.

        Args:
            seen: The service.
            in_force: The plan in force.
            past: Earlier decisions.
            before: The plan that was in force before the last change, if there was one.

        Raises:
            MeritorderError: The plan in force cannot serve the requests.
        """
        catalog = facts.load(self.options.catalogs)
        prices = price_now(in_force, catalog)
        slower = _speed(in_force, past)
        self.progress("simulating the last day under the plan in force")
        day = self._judge(_IN_FORCE, repriced(in_force, prices), seen.days(1), slower)
        drift = measure_drift(day, seen.last_day, seen.paid_usd_per_day, slower=slower)
        reasons = find_reasons(
            self.options,
            seen,
            past,
            before_usd=prices_of(in_force),
            now_usd=prices,
            is_kept=day.alternative.kept,
            is_slower=drift.slower != slower,
        )
        if not reasons:
            return None
        judged_on = seen.days(_JUDGED_DAYS if "demand" not in reasons else 1)
        current = self._judge(_IN_FORCE, repriced(in_force, prices), judged_on, drift.slower)
        candidates, why_none = self._candidates(
            seen=seen, current=current, judged_on=judged_on, drift=drift, before=before, catalog=catalog
        )
        allowed = allowance(
            self.options.budgets, reasons, now=utc(seen.now_s), running=sum(current.running.values()), past=past
        )
        weighed = self._weigh(candidates, current, judged_on, drift.slower, allowed)
        chosen = _choose(current, weighed)
        decision = self._decision(
            seen=seen,
            past=past,
            reasons=reasons,
            drift=drift,
            current=current,
            weighed=weighed,
            chosen=chosen,
            why_none=why_none,
            judged_on=judged_on,
            prices=prices,
        )
        suggested = structs.replace(decision, commitments=suggest_commitments(current, catalog))
        return Weighed(decision=suggested, plan=chosen.plan)

    def _judge(self, name: str, plan: Plan, trace: Trace, slower: float) -> Judged:
        return judge(name, plan, trace, slower=slower, catalogs=self.options.catalogs)

    def _candidates(
        self,
        *,
        seen: Observation,
        current: Judged,
        judged_on: Trace,
        drift: Drift,
        before: Plan | None,
        catalog: Catalog,
    ) -> tuple[list[Judged], str]:
        """Return other plans, simulated on the same requests, and why there is no new plan."""
        self.progress("planning again")
        candidates: list[Judged] = []
        why_none = ""
        try:
            says = seen.trace.requests["deadline_s"].null_count() < seen.trace.requests.height
            planning = planning_options(current.plan, self.options, slower=drift.slower, says_what_waits=says)
            proposed = self.planner(seen.trace, planning, self.progress)
            candidates.append(self._judge(_PROPOSED, proposed, judged_on, drift.slower))
        except MeritorderError as error:
            why_none = str(error)
        if before is not None:
            try:
                known = repriced(before, price_now(before, catalog))
                candidates.append(self._judge(_BEFORE, known, judged_on, drift.slower))
            except MeritorderError as error:
                self.progress(f"the plan before cannot serve these requests: {error}")
        return candidates, why_none

    def _weigh(
        self, candidates: Sequence[Judged], current: Judged, judged_on: Trace, slower: float, allowed: Allowance
    ) -> list[Judged]:
        """Return the candidates with why each is refused; and a step towards a plan that changes too much."""
        running = current.running
        weighed = [self._refused(compared(candidate, current, running), current, allowed) for candidate in candidates]
        for candidate in list(weighed):
            over_budget = candidate.alternative.refused_because and allowed.refusal(
                candidate.alternative.machines, candidate.alternative.at_risk_usd_per_day
            )
            if candidate.alternative.name != _PROPOSED or not over_budget:
                continue
            step = _largest_step(current, candidate, running, allowed)
            if step is not None:
                stepped = compared(self._judge(_STEP, step, judged_on, slower), current, running)
                weighed.append(self._refused(stepped, current, allowed))
        return weighed

    def _refused(self, candidate: Judged, current: Judged, allowed: Allowance) -> Judged:
        alternative, known = candidate.alternative, current.alternative
        reason = allowed.refusal(alternative.machines, alternative.at_risk_usd_per_day)
        if not alternative.kept and known.kept:
            reason = "it breaks promises that the plan in force keeps"
        elif not alternative.kept and _is_worse(alternative, known):
            reason = "it keeps fewer promises than the plan in force"
        elif known.kept and alternative.usd_per_day > (1 - self.options.table.min_saving) * known.usd_per_day:
            reason = f"it saves less than {format_share(self.options.table.min_saving)}"
        elif not reason and (refusal := self.accepts(candidate.plan)):
            reason = f"the gateway cannot execute it: {refusal}"
        return replace(candidate, alternative=structs.replace(alternative, refused_because=reason))

    def _decision(
        self,
        *,
        seen: Observation,
        past: Sequence[Decision],
        reasons: list[str],
        drift: Drift,
        current: Judged,
        weighed: Sequence[Judged],
        chosen: Judged,
        why_none: str,
        judged_on: Trace,
        prices: dict[Row, float],
    ) -> Decision:
        changed = difference(current.plan, chosen.plan, current.running, chosen.running)
        known, taken = current.alternative, chosen.alternative
        outcome, why = self._outcome(
            is_kept=chosen is current,
            seen=seen,
            past=past,
            drift=drift,
            known=known,
            taken=taken,
            why_none=why_none,
        )
        proposed = next((item.plan for item in weighed if item.alternative.name == _PROPOSED), current.plan)
        forward = proposed.walk_forward
        return Decision(
            id=next_id(past),
            at=f"{utc(seen.now_s):%Y-%m-%dT%H:%M:%SZ}",
            at_s=seen.now_s,
            mode=self.options.mode,
            outcome=outcome,
            why=why,
            reasons=reasons,
            inputs=Inputs(
                from_time=f"{utc(seen.trace.epoch_s or 0.0):%Y-%m-%dT%H:%M:%SZ}",
                to_time=f"{utc(seen.now_s):%Y-%m-%dT%H:%M:%SZ}",
                requests=seen.trace.requests.height,
                tokens_per_day=seen.tokens_per_day,
                queued=seen.queued,
                judged_from=f"{utc(judged_on.epoch_s or 0.0):%Y-%m-%dT%H:%M:%SZ}",
                slower=drift.slower,
                usd_per_hour={row_name(row): usd for row, usd in prices.items()},
                forecast=forward.forecast if forward else "",
                pinball_by_method=forward.pinball_by_method if forward else {},
            ),
            alternatives=[known, *(item.alternative for item in weighed)],
            chosen=taken.name,
            saves_usd_per_day=known.usd_per_day - taken.usd_per_day,
            expected_usd_per_day=taken.usd_per_day,
            machines=changed.machines,
            at_risk_usd_per_day=changed.at_risk_usd_per_day,
            changes=changed.changes,
            drift=drift,
        )

    def _outcome(
        self,
        *,
        is_kept: bool,
        seen: Observation,
        past: Sequence[Decision],
        drift: Drift,
        known: Alternative,
        taken: Alternative,
        why_none: str,
    ) -> tuple[str, str]:
        """Return what is done with the chosen plan, and why."""
        if is_kept:
            return KEPT, why_none or "no other plan is cheaper, keeps every promise, and is within the budgets"
        saving = f"{format_usd(known.usd_per_day)} a day become {format_usd(taken.usd_per_day)}"
        why = saving if known.kept else f"the plan in force breaks its promises; {saving}"
        if self.options.mode == OBSERVE:
            return OBSERVED, why
        if drift.stop_because:
            return STOPPED, f"nothing is applied: {drift.stop_because}"
        if self.options.mode != APPLY:
            return SUGGESTED, why
        reverted = [item for item in past if item.outcome == REVERTED and item.at_s > seen.now_s - SECONDS_PER_DAY]
        if reverted:
            return SUGGESTED, f"{why}; not applied within a day of going back ({reverted[-1].id})"
        return APPLIED, why


def _choose(current: Judged, weighed: Sequence[Judged]) -> Judged:
    """Return the cheapest plan that is not refused; those that keep every promise first."""
    possible = [item for item in weighed if not item.alternative.refused_because]
    return min(possible, key=lambda item: (not item.alternative.kept, item.alternative.usd_per_day), default=current)


def _largest_step(current: Judged, proposed: Judged, running: dict[Row, float], allowed: Allowance) -> Plan | None:
    """Return the largest step towards a plan that the budgets allow; None if there is none."""
    most = int(min(allowed.machines, proposed.alternative.machines))
    for machines in range(most, 0, -1):
        step = step_towards(current.plan, proposed.plan, machines)
        if step is None:
            return None
        changed = difference(current.plan, step, running, {})
        if not allowed.refusal(changed.machines, changed.at_risk_usd_per_day):
            return step
    return None


def _is_worse(alternative: Alternative, known: Alternative) -> bool:
    """Return whether a plan meets the SLO less often or misses more deadlines."""
    attained, before = alternative.slo_attainment or 1.0, known.slo_attainment or 1.0
    return attained < before or alternative.deadlines_missed > known.deadlines_missed


def _speed(in_force: Plan, past: Sequence[Decision]) -> float:
    """Return the factor on engine steps that was measured last."""
    measured = [decision.drift.slower for decision in past if decision.drift]
    return measured[-1] if measured else in_force.promises.slower if in_force.promises else 1.0
