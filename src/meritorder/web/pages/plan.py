"""The plan in force, and what another plan would change."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from meritorder import documents
from meritorder.errors import MeritorderError
from meritorder.records.autopilot import APPLIED, SUGGESTED, Decision
from meritorder.records.planfile import Plan, read_plan
from meritorder.report.plan import changes
from meritorder.report.plan import html as report
from meritorder.study.autopilot.log import DecisionLog
from meritorder.study.autopilot.loop import Autopilot
from meritorder.web.access import Access, Viewer
from meritorder.web.pages.jobs import PLAN, Jobs
from meritorder.web.render import html
from meritorder.web.security import REPORT_HEADERS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    """What a person may do with a decision of one outcome."""

    outcome: str
    question: str
    button: str
    act: Callable[[Autopilot, str, float], Decision]


_ACTIONS: Final = {
    "apply": _Action(
        outcome=SUGGESTED,
        question="Carry out the plan that this decision suggests?",
        button="Apply",
        act=lambda pilot, decision_id, now_s: pilot.apply(decision_id, now_s),
    ),
    "back": _Action(
        outcome=APPLIED,
        question="Go back to the plan before this decision?",
        button="Go back",
        act=lambda pilot, decision_id, now_s: pilot.revert(decision_id, now_s),
    ),
}
_TEMPLATE: Final = "plan_page.html.j2"
_DECISIONS: Final = 20
_SEE_OTHER: Final = 303


async def show_page(request: Request) -> Response:
    """Return the plan in force, and what the plan of a job would change."""
    _check(request)
    path: Path | None = request.app.state.plan
    jobs: Jobs = request.app.state.jobs
    others = {job.id: job for job in jobs.of(request.state.viewer.key) if (job.folder / PLAN).exists()}
    values: dict[str, Any] = {"plan": None, "error": "", "others": others, "other": None, "decisions": []}
    chosen = request.query_params.get("with", "")
    if chosen and chosen not in others:
        raise HTTPException(404)
    try:
        decisions: DecisionLog | None = request.app.state.decisions
        if decisions is not None:
            values["decisions"] = (await asyncio.to_thread(decisions.read))[: -_DECISIONS - 1 : -1]
        if path is not None:
            plan = await asyncio.to_thread(read_plan, path)
            values |= {"plan": plan, **report.summary(plan)}
            if chosen:
                other = await asyncio.to_thread(read_plan, others[chosen].folder / PLAN)
                values |= {"other": others[chosen], **_changes(plan, other)}
    except MeritorderError as error:
        values |= {"plan": None, "error": str(error)}
    return html(request, _TEMPLATE, values)


async def confirm(request: Request) -> Response:
    """Ask whether to carry out a decision, or to go back to the plan before it."""
    action, decision = await _asked(request)
    values = {
        "question": action.question,
        "what": f"{decision.id} of {decision.at[:16]} UTC: {decision.why}".replace("T", " ", 1),
        "button": action.button,
        "back": "/plan",
    }
    return html(request, "confirm.html.j2", values)


async def act(request: Request) -> Response:
    """Carry out a decision, or go back to the plan before it, which the autopilot records."""
    action, decision = await _asked(request)
    pilot: Callable[[], Autopilot] | None = request.app.state.pilot
    if pilot is None:
        raise HTTPException(404)
    try:
        await asyncio.to_thread(lambda: action.act(pilot(), decision.id, time.time()))
    except MeritorderError as error:
        return html(request, "error.html.j2", {"status": 409, "message": str(error)}, 409)
    return RedirectResponse("/plan", _SEE_OTHER)


async def show_report(request: Request) -> Response:
    """Return the report of the plan in force, which is a page of its own."""
    page = await asyncio.to_thread(lambda: report.render(_plan(request)))
    return HTMLResponse(page, headers=dict(REPORT_HEADERS))


async def api_plan(request: Request) -> Response:
    """Return the plan in force as JSON."""
    plan = await asyncio.to_thread(_plan, request)
    return Response(documents.encode(plan), media_type="application/json", headers={"cache-control": "no-store"})


async def _asked(request: Request) -> tuple[_Action, Decision]:
    """Return what a path asks to do, and with which decision."""
    _check(request)
    decisions: DecisionLog | None = request.app.state.decisions
    action, wanted = _ACTIONS.get(request.path_params["action"]), request.path_params["decision"]
    if decisions is None or action is None:
        raise HTTPException(404)
    for decision in await asyncio.to_thread(decisions.read):
        if decision.id == wanted and decision.outcome == action.outcome:
            return action, decision
    raise HTTPException(404)


def _changes(plan: Plan, other: Plan) -> dict[str, Any]:
    tables = [
        ("Dollars a week", changes.costs(plan, other)),
        ("Machines, mean", changes.machines(plan, other)),
        ("Commitments", changes.commitments(plan, other)),
    ]
    return {
        "change": changes.sentence(plan, other),
        "change_headings": changes.HEADINGS,
        "change_tables": [(title, rows) for title, rows in tables if rows],
    }


def _plan(request: Request) -> Plan:
    _check(request)
    path: Path | None = request.app.state.plan
    if path is None:
        raise HTTPException(404)
    try:
        return read_plan(path)
    except MeritorderError:
        raise HTTPException(404) from None


def _check(request: Request) -> None:
    """Refuse the plan, which names the machines and the prices of all, to tenants."""
    viewer: Viewer = request.state.viewer
    access: Access = request.app.state.access
    if access.gateway is not None and not viewer.is_admin:
        raise HTTPException(403)
