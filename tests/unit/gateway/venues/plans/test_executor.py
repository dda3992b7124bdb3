"""Which venue takes what, by the plan's slots; the clock is the test's."""

import asyncio
import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.samples import nightly

from meritorder.gateway import config_file
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.upstreams.upstream import EngineLoad
from meritorder.gateway.venues import venues
from meritorder.gateway.venues.engines import EngineState
from meritorder.gateway.venues.plans import matching as planned
from meritorder.gateway.venues.plans.executor import PlanExecutor
from meritorder.gateway.venues.plans.in_force import NO_PLAN
from meritorder.gateway.venues.venues import RunningRequest, Venue
from meritorder.gateway.wire.calls import CallFields
from meritorder.records.planfile import DeclaredWorkload, Plan, WorkloadPlan, write_plan

HOUR_S = 3600.0
BULK = Key(id="k", name="n", tenant="bulk-1")
OWN: dict[str, Any] = {"url": "http://x", "kind": "vllm", "models": ["stub"]}
API: dict[str, Any] = {"name": "api", "pool": nightly.TOKENS, "url": "http://z", "models": ["stub"]}
BATCHES = API | {"kind": "openai", "batch": True}


class Site:
    def __init__(self, folder: Path, plan: Plan | None, more: list[dict[str, Any]]) -> None:
        names = {venue.get("name") for venue in more}
        ours = [OWN | {"name": name} for name in (nightly.LIVE, nightly.NIGHT) if name not in names]
        found: dict[str, Any] = {"venue": [*ours, *more]}
        if plan is not None:
            write_plan(plan, folder / "plan.json")
            found["plan"] = str(folder / "plan.json")
        settings = config_file.parse_settings(found, where="test")
        self.venues = venues.build_venues(settings)
        self.now_s = 0.0
        self.queued: list[QueuedRequests] = []
        self.plan_executor = PlanExecutor(planned.read_plan(settings), self.venues, lambda: self.now_s, self.queue)

    async def queue(self) -> list[QueuedRequests]:
        return self.queued

    def venue(self, name: str) -> Venue:
        return next(venue for venue in self.venues.all if venue.name == name)

    def realtime(self, slot: int, tenant: str = "web") -> list[str]:
        self.now_s = slot * HOUR_S
        serving = self.venues.serving("stub", "realtime")
        return [venue.name for venue in self.plan_executor.realtime_venues("stub", tenant, serving)]

    def deferrable(
        self, slot: int, work: QueuedRequests | None = None, *, held: bool = True
    ) -> list[tuple[str, float, bool]]:
        self.now_s = slot * HOUR_S
        until_s = self.now_s + (1.0 if held else 0.0)
        serving = self.venues.serving("stub", "deferrable")
        turns = self.plan_executor.deferrable_targets(work or waiting(), serving, until_s, self.now_s)
        return [(target.venue.name, target.max_requests, target.planned) for target in turns]


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Site]:
    return lambda plan=None, *more: Site(tmp_path, plan, list(more))


def waiting(
    patience_s: float = 8 * HOUR_S, *, batch: bool = False, count: int = 1, workload: str | None = None
) -> QueuedRequests:
    return QueuedRequests(
        batch_seq=1 if batch else None,
        seq=0 if batch else 1,
        tenant="bulk-1",
        model="stub",
        deadline_s=patience_s,
        tokens=100,
        count=count,
        arrived_s=0.0,
        workload=workload,
    )


def test_no_plan_changes_nothing(site: Callable[..., Site]) -> None:
    there = site()
    assert there.realtime(0) == [nightly.LIVE, nightly.NIGHT]
    assert there.deferrable(0) == [(nightly.LIVE, math.inf, False), (nightly.NIGHT, math.inf, False)]
    assert there.plan_executor.max_backfill(there.venue(nightly.LIVE)) == math.inf
    assert there.plan_executor.status() is None
    assert there.plan_executor.gauges() == []
    assert there.plan_executor.deferral(CallFields(model="stub"), BULK, 0.0) is None


def test_urgent_work_ignores_the_plan(site: Callable[..., Site]) -> None:
    there = site(nightly.plan())
    assert there.deferrable(0) == []
    assert there.deferrable(2) == [(nightly.NIGHT, math.inf, True)]
    assert [name for name, *_ in there.deferrable(0, held=False)] == [nightly.LIVE, nightly.NIGHT]
    assert there.deferrable(2, held=False)[0] == (nightly.NIGHT, math.inf, True)


def test_calls_of_declared_workload_defer(site: Callable[..., Site]) -> None:
    there = site(nightly.plan())
    found = there.plan_executor.deferral(CallFields(model="stub"), BULK, 100.0)
    assert found is not None
    assert (found.deadline_s, found.workload) == (100.0 + 8 * HOUR_S, "nightly")
    assert there.plan_executor.deferral(CallFields(model="stub"), Key(id="k", name="n", tenant="web"), 100.0) is None
    assert there.plan_executor.deferral(CallFields(model="unplanned"), BULK, 100.0) is None


def test_own_pool_then_backfill_then_api(site: Callable[..., Site]) -> None:
    routes = [
        nightly.route("realtime", nightly.LIVE, [1.0] * 5),
        nightly.route("nightly", nightly.TOKENS, [25.0] * 5, kind="tier"),
        nightly.route("nightly", nightly.LIVE, [50.0] * 5),
        nightly.route("nightly", nightly.NIGHT, [0, 0, 25, 0, 0]),
    ]
    there = site(nightly.plan(routes=routes), API)
    assert [name for name, *_ in there.deferrable(2)] == [nightly.NIGHT, nightly.LIVE, "api"]
    assert [name for name, *_ in there.deferrable(0)] == [nightly.LIVE, "api"]


def test_api_gets_planned_share(site: Callable[..., Site]) -> None:
    routes = [
        nightly.route("realtime", nightly.LIVE, [0.75] * 5),
        nightly.route("realtime", nightly.TOKENS, [0.25] * 5, kind="tier"),
        nightly.route("nightly", nightly.TOKENS, [20.0] * 5, kind="tier"),
        nightly.route("nightly", nightly.LIVE, [80.0] * 5),
    ]
    there = site(nightly.plan(routes=routes), API)
    first = Counter(there.realtime(0)[0] for _ in range(400))
    assert first["api"] == pytest.approx(100, abs=3)
    api, live = there.venue("api"), there.venue(nightly.LIVE)
    bought = 0
    for _ in range(200):
        there.plan_executor.record_dispatch(waiting(), live, 1)
        most = next(most for name, most, _ in there.deferrable(0) if name == "api")
        there.plan_executor.record_dispatch(waiting(), api, int(most))
        bought += int(most)
    assert bought == pytest.approx(50, abs=2)  # a fifth of 250


def test_real_time_to_least_loaded_replica(site: Callable[..., Site]) -> None:
    routes = [
        nightly.route("realtime", nightly.LIVE, [0.8] * 5),
        nightly.route("realtime", nightly.NIGHT, [0, 0, 0.2, 0, 0]),
        nightly.route("nightly", nightly.NIGHT, [0, 0, 9, 0, 0]),
    ]
    there = site(nightly.plan(routes=routes, live=[4] * 5))
    there.venue(nightly.LIVE).realtime, there.venue(nightly.NIGHT).realtime = 9, 2  # 8 replicas, and 2
    assert there.realtime(2) == [nightly.NIGHT, nightly.LIVE]
    assert there.realtime(0) == [nightly.LIVE, nightly.NIGHT]


def test_ready_engine_before_stopped_one(site: Callable[..., Site]) -> None:
    command = {"url": "http://127.0.0.1:{port}/v1", "command": ["engine", "{port}"], "pool": nightly.LIVE}
    there = site(nightly.plan(), *(OWN | command | {"name": name} for name in ("a", "b", nightly.LIVE)))
    first, second = there.venue("a").engine, there.venue("b").engine
    assert first is not None
    assert second is not None
    there.venue("b").realtime = 5
    assert there.realtime(0)[:2] == ["a", nightly.LIVE]
    second.state = EngineState.READY
    assert there.realtime(0)[0] == "b", "busy, but ready"
    first.state = EngineState.STARTING
    assert there.realtime(0)[:3] == ["b", "a", nightly.LIVE]


def test_policy_sends_work_where_machines_run(site: Callable[..., Site]) -> None:
    """The night's route has a slot of its own in the schedule; under a policy its machines run when deadlines need."""
    there = site(nightly.policy_plan())
    assert there.deferrable(0) == [(nightly.LIVE, math.inf, True)]
    assert there.deferrable(2) == [(nightly.LIVE, math.inf, True)]
    assert there.realtime(0) == [nightly.LIVE, nightly.NIGHT]
    there.queued = [waiting(patience_s=600.0)]
    asyncio.run(there.plan_executor.read_backlog())
    there.plan_executor.observe()
    assert there.deferrable(0) == [(nightly.NIGHT, math.inf, True), (nightly.LIVE, math.inf, True)]
    assert there.plan_executor.max_backfill(there.venue(nightly.NIGHT)) == math.inf
    assert there.plan_executor.max_backfill(there.venue(nightly.LIVE)) == 2 * 3


def test_stopped_machines_come_last(site: Callable[..., Site]) -> None:
    routes = [nightly.route("realtime", nightly.LIVE, [1, 0, 0, 0, 0]), *nightly.plan().routes[1:]]
    there = site(nightly.plan(live=[1, 0, 1, 1, 1], routes=routes), API | {"fallback": True, "pool": []})
    assert there.realtime(3) == [nightly.LIVE, "api", nightly.NIGHT]
    assert there.realtime(1) == ["api", nightly.LIVE, nightly.NIGHT]
    assert [name for name, *_ in there.deferrable(1, held=False)] == ["api", nightly.LIVE, nightly.NIGHT]


def limited(**more: object) -> Plan:
    """Return a plan whose clinic may use the pool of the night alone, in real time and for what can wait."""
    eu = {"region": ["eu-*"]}
    rules = [
        DeclaredWorkload(name="index", lane="deferrable", deadline="8h", match=[("tenant", "bulk-*")], allow=eu),
        DeclaredWorkload(name="records", lane="realtime", match=[("tenant", "clinic")], allow=eu),
    ]
    routes = [
        nightly.route("realtime", nightly.LIVE, [1.0] * 5),
        structs.replace(nightly.route("records", nightly.NIGHT, [0, 0, 1, 0, 0]), lane="realtime"),
        nightly.route("index", nightly.NIGHT, [0, 0, 9, 0, 0]),
        structs.replace(nightly.route("realtime", nightly.TOKENS, [0.0] * 5, kind="tier"), provider="some-cloud"),
    ]
    waits = [WorkloadPlan(name="index", lane="deferrable", model="stub", patience_s=8 * HOUR_S, allow=eu)]
    plan = nightly.plan(rules=rules, routes=routes, waits=waits, **more)  # type: ignore[arg-type]
    pools = [structs.replace(pool, region={nightly.NIGHT: "eu-1"}.get(pool.name, "us-1")) for pool in plan.pools]
    records = WorkloadPlan(name="records", lane="realtime", model="stub", allow=eu)
    return structs.replace(plan, pools=pools, workloads=[records, *plan.workloads])


def test_restricted_workload_stays_on_permitted_venues(site: Callable[..., Site]) -> None:
    there = site(limited(), API | {"fallback": True}, OWN | {"name": "unplanned"})
    assert there.realtime(0, "clinic") == [nightly.NIGHT]
    assert [name for name, *_ in there.deferrable(2)] == [nightly.NIGHT]
    assert [name for name, *_ in there.deferrable(0, held=False)] == [nightly.NIGHT]
    assert there.plan_executor.permits(waiting(), there.venue(nightly.NIGHT))
    assert not any(
        there.plan_executor.permits(waiting(), there.venue(name)) for name in (nightly.LIVE, "api", "unplanned")
    )
    # Of the others nothing is said: they go where the plan has them, and anywhere else after it.
    assert there.realtime(0) == [nightly.LIVE, "unplanned", "api", nightly.NIGHT]


def test_restricted_workload_with_unknown_model(
    site: Callable[..., Site],
) -> None:
    there = site(limited(), OWN | {"name": "unplanned", "models": ["other"]})
    serving = there.venues.serving("other", "realtime")
    assert [venue.name for venue in there.plan_executor.realtime_venues("other", "web", serving)] == ["unplanned"]
    assert list(there.plan_executor.realtime_venues("other", "clinic", serving)) == []


def test_venue_permitted_if_all_pools_are(site: Callable[..., Site]) -> None:
    both = OWN | {"name": "both", "pool": [nightly.LIVE, nightly.NIGHT]}
    there = site(limited(), both)
    assert not there.plan_executor.permits(waiting(), there.venue("both"))
    assert there.plan_executor.permits(waiting(), there.venue(nightly.NIGHT))


def test_backfill_limited_by_the_plan(site: Callable[..., Site]) -> None:
    there = site(nightly.plan(live=[1, 2, 1, 1, 1]))
    live = there.venue(nightly.LIVE)
    live.realtime = 2
    live.deferrable = [RunningRequest(task=None)]  # type: ignore[arg-type]
    assert there.plan_executor.max_backfill(live) == 2 * 3 - 3
    there.now_s = HOUR_S
    assert there.plan_executor.max_backfill(live) == 4 * 3 - 3
    live.realtime = 100
    assert there.plan_executor.max_backfill(live) == 0
    there.now_s = 2 * HOUR_S
    assert there.plan_executor.max_backfill(there.venue(nightly.NIGHT)) == math.inf, "machines of their own may be full"


def test_no_backfill_above_planned_memory(site: Callable[..., Site]) -> None:
    there = site(nightly.plan())
    live = there.venue(nightly.LIVE)
    for share, open_for in ((None, 6), (nightly.KV_SHARE, 6), (nightly.KV_SHARE + 0.01, 0)):
        live.load = EngineLoad(running=0, waiting=0, kv_cache_share=share)
        assert there.plan_executor.max_backfill(live) == open_for


def test_backfill_share_of_each_slot(site: Callable[..., Site]) -> None:
    there = site(nightly.plan(backfill_shares=[1.0, 0.5, 1.0, 1.0, 1.0]))
    live = there.venue(nightly.LIVE)
    assert there.plan_executor.max_backfill(live) == 2 * 3
    there.now_s = HOUR_S
    assert there.plan_executor.max_backfill(live) == 2 * 2
    live.load = EngineLoad(running=0, waiting=0, kv_cache_share=nightly.KV_SHARE / 2 + 0.01)
    assert there.plan_executor.max_backfill(live) == 0


def test_batch_api_gets_its_share(site: Callable[..., Site]) -> None:
    routes = [
        nightly.route("realtime", nightly.LIVE, [1.0] * 5),
        nightly.route("nightly", nightly.TOKENS, [30.0, 0, 0, 0, 0], kind="tier"),
        nightly.route("nightly", nightly.LIVE, [70.0] * 5),
    ]
    there = site(nightly.plan(routes=routes), BATCHES)
    api, batch = there.venue("api"), waiting(batch=True, count=1000)
    assert there.plan_executor.provider_batch_quota(batch, api, 0.0) == 300
    there.plan_executor.record_dispatch(batch, api, 300)
    assert there.plan_executor.provider_batch_quota(waiting(batch=True, count=700), api, 0.0) == 0
    assert there.plan_executor.provider_batch_quota(batch, api, HOUR_S) == 0
    assert ("api", False) in {(name, planned) for name, _, planned in there.deferrable(0, batch)}


def test_workload_by_name_and_patience(site: Callable[..., Site]) -> None:
    names = ("nightly, 1 h or more", "nightly, 4 h or more", "own deadline, 4 h or more")
    waits = [WorkloadPlan(name=name, lane="deferrable", model="stub") for name in names]
    routes = [
        nightly.route("realtime", nightly.LIVE, [1.0] * 5),
        *(nightly.route(name, nightly.LIVE, [float(at == slot) for at in range(5)]) for slot, name in enumerate(names)),
    ]
    there = site(nightly.plan(waits=waits, routes=routes))

    def slots(work: QueuedRequests) -> list[int]:
        return [slot for slot in range(5) if there.deferrable(slot, work)]

    assert slots(waiting(2 * HOUR_S)) == [0]
    assert slots(waiting(0.5 * HOUR_S)) == [0]
    assert slots(waiting(9 * HOUR_S)) == [1]
    assert slots(waiting(9 * HOUR_S, workload="own deadline")) == [2]


def test_status_counts_replicas_ahead(site: Callable[..., Site]) -> None:
    there = site(nightly.plan(startup_s=600.0))

    def night(now_s: float) -> tuple[int, int, int]:
        there.now_s = now_s
        found = (there.plan_executor.status() or {})["pools"][1]
        return found["machines"], found["machines_next"], found["replicas"]

    assert night(1.5 * HOUR_S) == (0, 1, 0)
    assert night(2 * HOUR_S - 600.0) == (1, 1, 2)
    assert night(2.5 * HOUR_S) == (1, 0, 2)
    assert night(3 * HOUR_S) == (0, 0, 0)
    assert {gauge[0] for gauge in there.plan_executor.gauges()} == {
        "meritorder_plan_replicas",
        "meritorder_plan_replicas_next",
        "meritorder_plan_machines",
    }


def test_status_counts_servers_not_their_ranks(site: Callable[..., Site]) -> None:
    plan = nightly.plan()
    ranked = [structs.replace(pool, attention_ranks=2) for pool in plan.pools]  # both ranks of a server of each machine
    there = site(structs.replace(plan, pools=ranked))
    there.now_s = 2.5 * HOUR_S
    assert [row["replicas"] for row in (there.plan_executor.status() or {})["pools"]] == [1, 1]


def test_replaced_plan_is_followed(site: Callable[..., Site]) -> None:
    there = site(nightly.plan())
    assert there.realtime(0) == [nightly.LIVE, nightly.NIGHT]
    assert there.plan_executor.next_slot_s(waiting(), 0.0) == 2 * HOUR_S
    assert there.plan_executor.deferral(CallFields(model="stub"), BULK, 0.0) is not None
    there.plan_executor.replace_plan(NO_PLAN)
    assert there.plan_executor.status() is None
    assert there.plan_executor.next_slot_s(waiting(), 0.0) == math.inf
    assert there.plan_executor.deferral(CallFields(model="stub"), BULK, 0.0) is None
    assert there.plan_executor.max_backfill(there.venue(nightly.LIVE)) == math.inf


@pytest.mark.asyncio
async def test_engine_outside_new_plan_stops(site: Callable[..., Site]) -> None:
    command = [sys.executable, "-m", "tests.peers.engine", "--port", "{port}"]
    there = site(nightly.plan(), OWN | {"name": nightly.NIGHT, "url": "http://127.0.0.1:{port}/v1", "command": command})
    there.now_s = 2 * HOUR_S
    engine = there.venue(nightly.NIGHT).engine
    assert engine is not None
    executing = asyncio.create_task(there.plan_executor.run())
    async with asyncio.timeout(20):
        while engine.state is not EngineState.READY:
            await asyncio.sleep(0.05)
        there.plan_executor.replace_plan(NO_PLAN)
        while engine.state is not EngineState.STOPPED:
            await asyncio.sleep(0.05)
    executing.cancel()
    await there.venues.close()


def test_next_slot_of_a_workload(site: Callable[..., Site]) -> None:
    there = site(nightly.plan())
    assert there.plan_executor.next_slot_s(waiting(), 0.0) == 2 * HOUR_S
    assert there.plan_executor.next_slot_s(waiting(), 1.5 * HOUR_S) == 2 * HOUR_S
    assert there.plan_executor.next_slot_s(waiting(), 2.5 * HOUR_S) == 7 * HOUR_S
    assert there.plan_executor.next_slot_s(waiting(), 7.5 * HOUR_S) == 12 * HOUR_S, "the same slot of the next round"
    assert site().plan_executor.next_slot_s(waiting(), 0.0) == math.inf


@pytest.mark.asyncio
async def test_failed_start_is_logged_each_time(site: Callable[..., Site], caplog: pytest.LogCaptureFixture) -> None:
    command = [sys.executable, str(Path(__file__).parents[4] / "samples" / "engine.py"), "{port}", "fails"]
    there = site(nightly.plan(), OWN | {"name": nightly.NIGHT, "url": "http://127.0.0.1:{port}/v1", "command": command})
    there.now_s = 2 * HOUR_S
    executing = asyncio.create_task(there.plan_executor.run())
    await asyncio.sleep(2.5)
    executing.cancel()
    await asyncio.gather(executing, return_exceptions=True)
    await there.venues.close()
    complaints = [record.getMessage() for record in caplog.records if "does not start" in record.getMessage()]
    assert 1 <= len(complaints) <= 3
    assert all("CUDA out of memory" in complaint for complaint in complaints)
