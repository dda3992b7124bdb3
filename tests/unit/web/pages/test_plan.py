"""Plan: the plan in force, what another changes, and the way back from a decision of the autopilot."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.samples.plan import week
from tests.samples.site import KnownKeys
from tests.unit.web.test_access import sign_in

from meritorder.errors import ConfigError
from meritorder.records.autopilot import APPLIED, KEPT, SUGGESTED, Change, Decision
from meritorder.records.planfile import write_plan
from meritorder.study.autopilot.log import DecisionLog
from meritorder.web.access import Access
from meritorder.web.app import Site, create_app
from meritorder.web.pages.jobs import PLAN, Jobs


@pytest.fixture
def log(tmp_path: Path) -> DecisionLog:
    log = DecisionLog(tmp_path / "autopilot")
    shared = {"at": "2026-11-30T00:00:00Z", "at_s": 0.0, "mode": "apply"}
    change = Change(what="<b>pool</b>", before="1", after="2")
    log.append(Decision(id="d00001", outcome=APPLIED, why="demand grew", changes=[change], **shared))
    log.append(Decision(id="d00002", outcome=KEPT, why="no better plan", **shared))
    log.append(Decision(id="d00003", outcome=SUGGESTED, why="demand grew again", **shared))
    return log


class Pilot:
    """Notes what people ask of the autopilot; refuses if it has no notes."""

    def __init__(self, asked: list[tuple[str, str]] | None) -> None:
        self._asked = asked

    def apply(self, decision_id: str, _now_s: float) -> None:
        self._note("apply", decision_id)

    def revert(self, decision_id: str, _now_s: float) -> None:
        self._note("revert", decision_id)

    def _note(self, action: str, decision_id: str) -> None:
        if self._asked is None:
            raise ConfigError("the gateway cannot execute that plan", where="autopilot")
        self._asked.append((action, decision_id))


def client(folder: Path, log: DecisionLog | None, asked: list[tuple[str, str]] | None = None) -> TestClient:
    path = folder / "plan.json"
    write_plan(week(), path)
    pilot: Any = Pilot(asked)
    site = Site(access=Access(gateway=KnownKeys()), plan_file=path, decisions=log, pilot=lambda: pilot)
    return TestClient(create_app((), site))


def test_page_shows_the_plan_in_force(tmp_path: Path) -> None:
    with client(tmp_path, None) as browser:
        sign_in(browser, "admin")
        page = browser.get("/plan").text
        assert "What to rent" in page
        assert "What to commit to" in page
        assert browser.get("/api/plan").json()["total_usd"] == week().total_usd
        assert "sandbox" in browser.get("/plan/report").headers["content-security-policy"]


def test_other_plan_is_compared(tmp_path: Path) -> None:
    with client(tmp_path, None) as browser:
        sign_in(browser, "admin")
        jobs: Jobs = browser.app._application.state.jobs  # type: ignore[attr-defined]
        job = jobs.create("trace.csv", {"study": "plan"}, "admin")
        foreign = jobs.create("other.csv", {"study": "plan"}, "tenant")
        for known in (job, foreign):
            write_plan(week(), known.folder / PLAN)
        page = browser.get(f"/plan?with={job.id}").text
        assert "The other plan costs as much" in page
        assert "other.csv" not in page
        assert browser.get(f"/plan?with={foreign.id}").status_code == 404


@pytest.mark.parametrize(
    ("action", "asked", "button"),
    [("back/d00001", ("revert", "d00001"), "Go back</a>"), ("apply/d00003", ("apply", "d00003"), "Apply</a>")],
)
def test_changing_the_plan_asks_first(
    tmp_path: Path, log: DecisionLog, action: str, asked: tuple[str, str], button: str
) -> None:
    notes: list[tuple[str, str]] = []
    with client(tmp_path, log, notes) as browser:
        token = sign_in(browser, "admin")
        page = browser.get("/plan").text
        assert "&lt;b&gt;pool" in page
        assert page.count(button) == 1
        assert "demand grew" in browser.get(f"/plan/{action}").text
        assert notes == []
        for unknown in ("back/d00002", "back/d00003", "apply/d00001", "back/d9", "burn/d00001"):
            assert browser.post(f"/plan/{unknown}", data={"token": token}).status_code == 404
        assert browser.post(f"/plan/{action}", data={"token": token}).status_code == 200
    assert notes == [asked]


def test_refusal_of_the_autopilot_is_said(tmp_path: Path, log: DecisionLog) -> None:
    with client(tmp_path, log) as browser:
        token = sign_in(browser, "admin")
        answer = browser.post("/plan/back/d00001", data={"token": token})
        assert (answer.status_code, "the gateway cannot execute that plan" in answer.text) == (409, True)


def test_tenants_cannot_go_back(tmp_path: Path, log: DecisionLog) -> None:
    with client(tmp_path, log, []) as browser:
        token = sign_in(browser, "tenant")
        assert browser.post("/plan/back/d00001", data={"token": token}).status_code == 403
