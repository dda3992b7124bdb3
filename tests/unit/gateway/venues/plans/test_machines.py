"""How many machines the policy of a plan wants, at loads that leave its forecast; the clock is the test's."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from tests.oracle.stepwise_engine import Account
from tests.oracle.stepwise_pools import Group
from tests.samples import nightly
from tests.samples.fleets import profile

from meritorder.gateway import config_file
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.venues import venues
from meritorder.gateway.venues.plans import matching as planned
from meritorder.gateway.venues.plans.machines import PolicyMachines, ScheduledMachines, machines_of
from meritorder.gateway.venues.plans.status import plan_gauges, plan_status
from meritorder.policy.replicas import DECISION_S
from meritorder.records.planfile import Plan, write_plan
from meritorder.records.planpolicy import Policy
from meritorder.sim.pools import Autoscaled, SimPool

SLOT_S = 600.0
STARTUP_S = 60.0
VENUE: dict[str, Any] = {"url": "http://x", "kind": "vllm", "models": ["stub"]}


class Site:
    """A plan with a policy, two venues of the live pool and one of the night's."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        write_plan(plan, folder / "plan.json")
        tables = [VENUE | {"name": f"live-{number}", "pool": nightly.LIVE} for number in (1, 2)]
        tables.append(VENUE | {"name": nightly.NIGHT, "lanes": ["deferrable"]})
        settings = config_file.parse_settings({"venue": tables, "plan": str(folder / "plan.json")}, where="test")
        self.plan = planned.read_plan(settings)
        self.venues = {venue.name: venue for venue in venues.build_venues(settings).all}
        machines = machines_of(self.plan, self.venues)
        assert isinstance(machines, PolicyMachines)
        self.machines = machines

    def observe(self, now_s: float, in_flight: int = 0) -> dict[str, int]:
        """Let the policy see the real-time requests in flight, and return the machines wanted of each pool."""
        self.venues["live-1"].realtime, self.venues["live-2"].realtime = in_flight // 2, in_flight - in_flight // 2
        self.machines.observe(now_s)
        return {pool.spec.name: self.machines.wanted(pool, now_s) for pool in self.plan.pools}

    def rows(self, now_s: float) -> dict[str, dict[str, Any]]:
        status = plan_status(self.plan, self.machines, now_s)
        assert status is not None
        return {row["pool"]: row for row in status["pools"]}


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Site]:
    def build(rules: Policy | None = None) -> Site:
        return Site(tmp_path, nightly.policy_plan(rules or nightly.policy(slot_s=SLOT_S), startup_s=STARTUP_S))

    return build


def batch(deadline_s: float, tokens: int, model: str = "stub") -> QueuedRequests:
    return QueuedRequests(
        batch_seq=1, seq=0, tenant="t", model=model, deadline_s=deadline_s, tokens=tokens, count=9, arrived_s=0.0
    )


@pytest.mark.parametrize("seed", range(5))
def test_gateway_decides_as_simulator(site: Callable[..., Site], seed: int) -> None:
    """The reference is the step-by-step simulator: two slots of floor, and a load that moves at random."""
    gateway = site()
    rule = nightly.policy().reactive[0]
    scaling = Autoscaled(
        target_in_flight=rule.target_in_flight,
        minimum=rule.minimum,
        maximum=rule.maximum,
        initial=0,
        stabilization_s=rule.stabilization_s,
        floor=(1, 2),
        slot_s=SLOT_S,
        ahead_s=STARTUP_S,
    )
    pool = SimPool(profile=profile(), scaling=scaling, replicas_per_instance=2)
    simulated = Group(pool, [], Account(1))
    random = np.random.default_rng(seed)
    gateway.observe(0.0)
    wanted = set()
    for tick in range(1, 79):
        in_flight = int(random.integers(0, 40) * (random.random() < 0.1))
        now_s = tick * DECISION_S
        machines = gateway.observe(now_s, in_flight)[nightly.LIVE]
        assert machines == simulated.scaled_to(in_flight, 0, DECISION_S, now_s), f"at {now_s} s"
        wanted.add(machines)
    assert wanted == {1, 2, 3}


def test_load_beyond_forecast_adds_machines(site: Callable[..., Site]) -> None:
    """Floor 1; 20 in flight over 4 are 5 replicas, so 3 machines with two of them; they stay 300 s."""
    gateway = site()
    assert gateway.observe(0.0, in_flight=20)[nightly.LIVE] == 1
    assert gateway.observe(14.9, in_flight=20)[nightly.LIVE] == 1, "no decision yet"
    assert gateway.observe(15.0, in_flight=20)[nightly.LIVE] == 3
    row = gateway.rows(15.0)[nightly.LIVE]
    assert (row["machines"], row["replicas"], row["machines_next"]) == (3, 6, 2)
    assert row["policy"] == {"floor": 1, "reactive": 3, "backlog": 0}
    for now_s in range(30, 315, 15):
        assert gateway.observe(float(now_s))[nightly.LIVE] == 3
    assert gateway.observe(315.0)[nightly.LIVE] == 1
    gauges = {gauge[0]: dict(gauge[3]) for gauge in plan_gauges(gateway.plan, gateway.machines, 315.0)}
    assert gauges["meritorder_policy_machines"][nightly.LIVE, "owned", "floor"] == 1.0
    assert gauges["meritorder_plan_replicas"][nightly.LIVE, "owned"] == 2.0


def test_floor_rises_one_startup_ahead(site: Callable[..., Site]) -> None:
    gateway = site()
    live = gateway.plan.pools[0]
    assert [gateway.observe(now_s)[nightly.LIVE] for now_s in (539.9, 540.0, 1199.0, 1200.0)] == [1, 2, 2, 1]
    assert [gateway.machines.serving(live, now_s) for now_s in (540.0, 600.0)] == [1, 2]


def test_pool_begins_with_its_model(tmp_path: Path) -> None:
    """Until a start-up before the first request of its trace it runs only what a load asks for, and then its floor."""
    plan = nightly.policy_plan(nightly.policy(slot_s=SLOT_S), startup_s=STARTUP_S)
    begins = [structs.replace(pool, begin_s=200.0) if pool.name == nightly.LIVE else pool for pool in plan.pools]
    gateway, now = Site(tmp_path, structs.replace(plan, pools=begins)), Site(tmp_path, plan)
    start_s = gateway.plan.calendar.start_s
    assert gateway.observe(start_s)[nightly.LIVE] == 0 < now.observe(start_s)[nightly.LIVE]
    for site_ in (gateway, now):
        site_.observe(start_s + 15.0, in_flight=100)
    busy = gateway.observe(start_s + 30.0, in_flight=100)[nightly.LIVE]
    assert busy == now.observe(start_s + 30.0, in_flight=100)[nightly.LIVE]
    early, late = start_s + 200.0 - STARTUP_S - 1.0, start_s + 200.0 - STARTUP_S
    fresh = Site(tmp_path, structs.replace(plan, pools=begins))
    assert fresh.observe(early)[nightly.LIVE] == 0 < fresh.observe(late)[nightly.LIVE]


def test_cost_above_floor_is_counted(site: Callable[..., Site]) -> None:
    """Two machines above the floor, a dollar an hour each, for a minute; owned ones would be free."""
    paid = nightly.policy_plan(nightly.policy(slot_s=SLOT_S), startup_s=STARTUP_S)
    assert site().rows(0.0)[nightly.LIVE]["above_floor_usd"] == 0.0
    rows = [structs.replace(paid.schedule[0], pricing_model="on_demand"), paid.schedule[1]]
    gateway = Site(Path(site().plan.file).parent, structs.replace(paid, schedule=rows))
    for now_s in (0.0, 15.0, 75.0):
        gateway.observe(now_s, in_flight=20)
    assert gateway.rows(75.0)[nightly.LIVE]["above_floor_usd"] == pytest.approx(2 * 60 / 3600, abs=1e-6)


def test_backlog_starts_machines_in_time(site: Callable[..., Site]) -> None:
    """4,000 tokens at 10 a second are 400 s of work, 200 s for both replicas of a machine, after a start of 60 s."""
    gateway = site()
    gateway.machines.backlog = [batch(1000.0, 4000)]
    assert gateway.machines.needs_backlog
    latest_s = 1000.0 - 60.0 - 60.0 - 400.0 / 2
    started_s = next(now_s for now_s in np.arange(0.0, 1000.0, DECISION_S) if gateway.observe(now_s)[nightly.NIGHT])
    assert latest_s <= started_s < latest_s + DECISION_S
    assert gateway.rows(started_s)[nightly.NIGHT]["policy"] == {"floor": 0, "reactive": 0, "backlog": 1}
    assert gateway.rows(started_s)[nightly.LIVE]["policy"]["backlog"] == 0
    gateway.machines.backlog = []
    assert gateway.observe(started_s + DECISION_S)[nightly.NIGHT] == 0


def test_late_backlog_starts_up_to_maximum(site: Callable[..., Site]) -> None:
    gateway = site()
    gateway.machines.backlog = [batch(300.0, 1_000_000)]
    assert gateway.observe(0.0)[nightly.NIGHT] == 2


def test_foreign_backlog_starts_nothing(site: Callable[..., Site]) -> None:
    gateway = site()
    gateway.machines.backlog = [batch(300.0, 1_000_000, model="unknown")]
    assert gateway.observe(0.0)[nightly.NIGHT] == 0


def test_small_backlog_starts_before_deadline(site: Callable[..., Site]) -> None:
    gateway = site()
    gateway.machines.backlog = [batch(1000.0, 1)]
    started = [now_s for now_s in range(0, 1000, 15) if gateway.observe(float(now_s))[nightly.NIGHT]]
    assert started[0] == 870, "the last decision before 1000 s less margin and start-up"


def test_rate_assumed_if_plan_has_none(site: Callable[..., Site]) -> None:
    """Half of eight sequences at 0.1 s per token."""
    rules = nightly.policy(slot_s=SLOT_S)
    unknown = structs.replace(rules, backlog=[structs.replace(rules.backlog[0], tokens_per_s=0.0)])
    night = site(unknown).plan.pools[1]
    assert night.rows[0].tokens_per_s == pytest.approx(40.0)
    assert site().plan.pools[1].rows[0].tokens_per_s == 10.0


def test_new_plan_keeps_observed_load(site: Callable[..., Site]) -> None:
    gateway = site()
    gateway.observe(0.0)
    gateway.observe(15.0, in_flight=20)
    live = gateway.plan.pools[0]
    again = machines_of(gateway.plan, gateway.venues, gateway.machines)
    assert again.wanted(live, 16.0) == 3
    fresh = machines_of(gateway.plan, gateway.venues, ScheduledMachines(gateway.plan))
    assert fresh.wanted(live, 16.0) == 1


def test_initial_machines_until_first_decision(site: Callable[..., Site]) -> None:
    rules = nightly.policy(slot_s=SLOT_S)
    gateway = site(structs.replace(rules, reactive=[structs.replace(rules.reactive[0], initial=3)]))
    assert [gateway.observe(now_s)[nightly.LIVE] for now_s in (0.0, 15.0)] == [3, 1]


def test_backfill_limited_per_running_machine(site: Callable[..., Site]) -> None:
    """Three sequences beside real time on each of two replicas; all eight on machines that run for the backlog."""
    gateway = site()
    live, night = gateway.plan.pools
    assert gateway.machines.sequences(live, 0.0) == 2 * 3
    assert gateway.machines.serves_realtime(live, 0.0)
    assert not gateway.machines.serves_realtime(night, 0.0)
    gateway.machines.backlog = [batch(300.0, 1_000_000)]
    gateway.observe(0.0)
    assert gateway.machines.sequences(night, 0.0) == 2 * 2 * 8
    assert gateway.machines.backfill(live, 0.0).sequences == 3
    assert math.isclose(gateway.machines.backfill(live, 0.0).kv_share, nightly.KV_SHARE)
