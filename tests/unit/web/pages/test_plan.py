"""Plan: the plan in force, what another changes, and the way back from a decision of the autopilot."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.samples.plan import week
from tests.samples.site import KnownKeys
from tests.unit.web.test_access import sign_in

from meritorder.errors import ConfigError
from meritorder.records.autopilot import APPLIED, KEPT, Change, Decision
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
    return log


def client(folder: Path, log: DecisionLog | None, went_back: list[str] | None = None) -> TestClient:
    path = folder / "plan.json"
    write_plan(week(), path)

    def revert(decision_id: str) -> Decision:
        if went_back is None:
            raise ConfigError("another autopilot runs", where="autopilot")
        went_back.append(decision_id)
        return Decision(id="d00003", at="", at_s=0.0, mode="apply", outcome="reverted", why="")

    site = Site(access=Access(gateway=KnownKeys()), plan_file=path, decisions=log, revert=revert)
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


def test_going_back_asks_first(tmp_path: Path, log: DecisionLog) -> None:
    went_back: list[str] = []
    with client(tmp_path, log, went_back) as browser:
        token = sign_in(browser, "admin")
        page = browser.get("/plan").text
        assert "&lt;b&gt;pool" in page
        assert page.count("Go back</a>") == 1
        assert "demand grew" in browser.get("/plan/back/d00001").text
        assert went_back == []
        for unknown in ("d00002", "d9"):
            assert browser.post(f"/plan/back/{unknown}", data={"token": token}).status_code == 404
        assert browser.post("/plan/back/d00001", data={"token": token}).status_code == 200
    assert went_back == ["d00001"]


def test_running_autopilot_is_said(tmp_path: Path, log: DecisionLog) -> None:
    with client(tmp_path, log) as browser:
        token = sign_in(browser, "admin")
        answer = browser.post("/plan/back/d00001", data={"token": token})
        assert (answer.status_code, "another autopilot runs" in answer.text) == (409, True)


def test_tenants_cannot_go_back(tmp_path: Path, log: DecisionLog) -> None:
    with client(tmp_path, log, []) as browser:
        token = sign_in(browser, "tenant")
        assert browser.post("/plan/back/d00001", data={"token": token}).status_code == 403
