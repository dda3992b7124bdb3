"""The autopilot beside a gateway's store: it writes the plan whole or not at all, and goes back."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from bench.autopilot import Day, World, fit_plan
from msgspec import structs
from sqlalchemy import select

from meritorder import documents
from meritorder.errors import ConfigError, TraceError
from meritorder.gateway.store import migrations
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.schema import WEBHOOKS
from meritorder.records.autopilot import APPLIED, KEPT, OBSERVED, REVERTED, SUGGESTED
from meritorder.records.planfile import Plan, read_plan
from meritorder.study.autopilot.decide import Planner
from meritorder.study.autopilot.loop import Autopilot
from meritorder.study.fleet.options import Progress
from meritorder.study.schedule.options import PlanOptions
from meritorder.traces import Trace

DAYS = 3
END_S = 1_793_577_600.0 + DAYS * 86_400
VENUE = """
[[venue]]
name = "gpu"
url = "http://127.0.0.1:1/v1"
kind = "vllm"
models = ["llama-3.1-8b"]
pool = ["bench-cloud, real time", "bench-cloud, batch"]
usd_per_hour = 2
"""


@dataclass(frozen=True)
class Site:
    """A gateway's folder: its configuration, and the plan that fits."""

    folder: Path
    world: World
    plan: Plan

    def put(self, plan: Plan) -> Plan:
        """Put a plan in force."""
        (self.folder / "plan.json").write_bytes(documents.encode(plan))
        return plan

    def put_wasteful(self) -> Plan:
        """Put a plan in force that always runs six machines."""
        policy = self.plan.policy
        assert policy is not None
        rules = [structs.replace(rule, minimum=6) for rule in policy.reactive]
        return self.put(structs.replace(self.plan, policy=structs.replace(policy, reactive=rules)))

    def autopilot(self, mode: str = "apply", budget: str = 'machines = "50"', planner: Planner = fit_plan) -> Autopilot:
        config = self.folder / "gateway.toml"
        config.write_text(
            f'plan = "{self.folder}/plan.json"\n'
            f'[store]\nurl = "sqlite:///{self.folder}/gateway.db"\n'
            f'[autopilot]\nmode = "{mode}"\nproviders = ["bench-cloud", "rival-cloud"]\n'
            f"[[autopilot.budget]]\n{budget}\n{VENUE}"
        )
        return Autopilot(config, planner, catalogs=self.world.catalogs)

    @property
    def in_force(self) -> Plan:
        return read_plan(self.folder / "plan.json")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    world = World(folder=folder, history_days=DAYS, requests=400, week=())
    world.set_prices(Day())
    rows = world.trace(0)
    database = Database(f"sqlite:///{folder}/gateway.db")
    migrations.upgrade(database)
    entries = [
        LedgerEntry(**row, tenant="t", key_id=None, endpoint="/v1/chat/completions", counted=True)
        for day in world.rows
        for row in day.drop("cost_picousd").to_dicts()
    ]
    database.submit(lambda connection: ledger.add(connection, entries)).result()
    database.close()
    return Site(folder=folder, world=world, plan=fit_plan(rows, world.options()))


@pytest.fixture
def site(first: Site) -> Iterator[Site]:
    first.world.set_prices(Day())
    first.put(first.plan)
    yield first
    for file in (first.folder / "autopilot").glob("*"):
        file.unlink()


def test_nothing_changes_while_nothing_is_cheaper(site: Site) -> None:
    with site.autopilot() as pilot:
        decision = pilot.step(END_S)
        assert decision is not None
        assert (decision.outcome, decision.reasons) == (KEPT, ["schedule"])
        assert pilot.step(END_S + 60) is None
    assert site.in_force == site.plan


def test_traffic_that_ended_is_said(site: Site) -> None:
    """A day without a request has nothing to weigh plans on; one request is enough."""
    with (
        site.autopilot() as pilot,
        pytest.raises(TraceError, match="no request has arrived since 2026-11-05 00:00 UTC"),
    ):
        pilot.step(END_S + 86_400)
    assert site.in_force == site.plan


def test_cheaper_plan_is_applied_and_reverted(site: Site) -> None:
    wasteful = site.put_wasteful()
    with site.autopilot() as pilot:
        decision = pilot.step(END_S)
        assert decision is not None
        assert decision.outcome == APPLIED
        assert decision.saves_usd_per_day > 0
        assert decision.machines >= 5
        assert site.in_force.policy == site.plan.policy
        back = pilot.revert(decision.id, END_S + 10)
        assert back.outcome == REVERTED
        assert site.in_force == wasteful
        again = pilot.step(END_S + 7200)
    assert again is None or again.outcome == SUGGESTED
    assert site.in_force == wasteful


def test_decision_is_queued_for_webhooks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not this process knows the secret, which the gateway signs with."""
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    pilot = site.autopilot(budget='machines = "50"\n[[webhook]]\nurl = "http://x.test"\nsecret_env = "HOOK_SECRET"')
    with pilot:
        decision = pilot.step(END_S)
    database = Database(f"sqlite:///{site.folder}/gateway.db")
    (body,) = database.read_now(lambda connection: connection.execute(select(WEBHOOKS.c.body)).scalars().all())
    database.close()
    event = msgspec.json.decode(body)
    assert decision is not None
    assert (event["type"], event["data"]["outcome"]) == ("autopilot.decision", decision.outcome)


def test_budget_allows_a_step_at_a_time(site: Site) -> None:
    site.put_wasteful()
    with site.autopilot(budget='machines = "2"') as pilot:
        decision = pilot.step(END_S)
    assert decision is not None
    assert (decision.outcome, decision.chosen, decision.machines) == (APPLIED, "a step towards the new plan", 2)
    assert site.in_force.policy is not None
    assert site.in_force.policy.reactive[0].minimum == 4


@pytest.mark.parametrize(("mode", "outcome"), [("observe", OBSERVED), ("suggest", SUGGESTED)])
def test_other_modes_leave_the_plan_alone(site: Site, mode: str, outcome: str) -> None:
    wasteful = site.put_wasteful()
    with site.autopilot(mode) as pilot:
        decision = pilot.step(END_S)
    assert decision is not None
    assert decision.outcome == outcome
    assert site.in_force == wasteful
    assert (site.folder / "autopilot" / "suggested-plan.json").exists() == (outcome == SUGGESTED)


def test_budget_of_nothing_keeps_the_plan(site: Site) -> None:
    wasteful = site.put_wasteful()
    with site.autopilot(budget='machines = "0"') as pilot:
        decision = pilot.step(END_S)
    assert decision is not None
    assert decision.outcome == KEPT
    refusals = {plan.name: plan.refused_because for plan in decision.alternatives}
    assert "the budgets leave 0 machines" in refusals["the new plan"]
    assert site.in_force == wasteful


def test_suggestion_is_applied_while_autopilot_runs(site: Site) -> None:
    site.put_wasteful()
    with site.autopilot("suggest") as running:
        suggested = running.step(END_S)
        assert suggested is not None
        applied = site.autopilot("suggest").apply(suggested.id, END_S + 10)
        assert (applied.outcome, applied.id) == (APPLIED, "d00002")
        assert applied.why.startswith("a person applied d00001: ")
        assert (applied.machines, applied.saves_usd_per_day) == (suggested.machines, suggested.saves_usd_per_day)
        assert site.in_force.policy == site.plan.policy
        assert site.autopilot("suggest").revert("d00002", END_S + 20).outcome == REVERTED


def test_outdated_suggestion_is_refused(site: Site) -> None:
    wasteful = site.put_wasteful()
    with site.autopilot("suggest") as pilot:
        pilot.step(END_S)
        own = site.put(structs.replace(wasteful, sentence="by hand"))
        with pytest.raises(ConfigError, match="no longer the one that d00001 changes"):
            pilot.apply("d00001", END_S + 10)
    assert site.in_force == own


def test_plan_changed_while_autopilot_decides_stays(site: Site) -> None:
    wasteful = site.put_wasteful()
    own = structs.replace(wasteful, sentence="by hand")

    def plan_slowly(trace: Trace, options: PlanOptions, progress: Progress = lambda _: None) -> Plan:
        site.put(own)
        return fit_plan(trace, options, progress)

    with site.autopilot(planner=plan_slowly) as pilot:
        assert pilot.step(END_S) is None
        assert (site.in_force, pilot.log.read()) == (own, [])


def test_change_that_a_kill_interrupted_is_finished(site: Site) -> None:
    wasteful = site.put_wasteful()
    with site.autopilot() as pilot:
        pilot.step(END_S)
    applied = site.in_force
    site.put(wasteful)  # as if the kill came between the record and the plan
    with site.autopilot():
        assert site.in_force == applied


def test_plan_that_a_person_wrote_stays(site: Site) -> None:
    wasteful = site.put_wasteful()
    with site.autopilot() as pilot:
        pilot.step(END_S)
    own = site.put(structs.replace(wasteful, sentence="by hand"))
    with site.autopilot():
        assert site.in_force == own


def test_second_autopilot_is_refused(site: Site) -> None:
    with site.autopilot(), pytest.raises(ConfigError, match="another autopilot runs"), site.autopilot():
        pass


def test_plan_that_the_gateway_cannot_execute_is_refused(site: Site) -> None:
    site.world.set_prices(Day(rival_usd=1.0))
    with site.autopilot() as pilot:
        decision = pilot.step(END_S)
    assert decision is not None
    assert decision.outcome == KEPT
    assert any("the gateway cannot execute it" in plan.refused_because for plan in decision.alternatives)


def test_decision_without_a_change_is_not_reverted(site: Site) -> None:
    with site.autopilot() as pilot:
        pilot.step(END_S)
        with pytest.raises(ConfigError, match="changed nothing"):
            pilot.revert("d00001", END_S)
