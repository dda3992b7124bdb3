"""Which work is dispatched next, and who gets its answer."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from meritorder.gateway import config
from meritorder.gateway.app import server
from meritorder.gateway.store.requests import QueuedRequests, RequestAnswer
from meritorder.gateway.workers.dispatch import Dispatcher, _Urgency
from meritorder.policy.escalation import EscalationLevel

BATCH_API = {"name": "api", "url": "http://x", "models": ["m"], "kind": "openai", "batch": True, "fallback": False}
NOW_S = 1e9


def work(seq: int, tenant: str = "t", *, count: int = 1, deadline_s: float = NOW_S + 9e5) -> QueuedRequests:
    return QueuedRequests(
        batch_seq=None, seq=seq, tenant=tenant, model="m", deadline_s=deadline_s, tokens=100 * count, count=count,
        arrived_s=NOW_S,
    )  # fmt: skip


@pytest.fixture
def dispatcher(tmp_path: Path) -> Iterator[Dispatcher]:
    store = {"url": f"sqlite:///{tmp_path}/store.db", "blobs": f"file://{tmp_path}/blobs"}
    engine = {"name": "own", "url": "http://y", "models": ["m"], "kind": "vllm"}
    settings = config.parse_settings({"venue": [engine, BATCH_API], "store": store}, where="test")
    service = server.build_service(settings)
    yield service.dispatcher
    service.context.database.close()


def test_turns_are_fair_between_tenants(dispatcher: Dispatcher) -> None:
    queued = [work(1, "flood", count=50), work(2, "small", count=2)]
    calm = {request: _Urgency(EscalationLevel.BACKFILL, NOW_S + 9e5, NOW_S + 9e5) for request in queued}
    turns = dispatcher._turns(queued, calm, 6, NOW_S)
    assert {entry.tenant: count for entry, count in turns} == {"flood": 4, "small": 2}


def test_served_tokens_fade(dispatcher: Dispatcher) -> None:
    dispatcher._add_served("a", 20_000_000)
    dispatcher._add_served("b", 1000)
    dispatcher._add_served("a", 0)
    assert dispatcher._served_tokens == {"a": 10_000_000, "b": 500}


@pytest.mark.asyncio
async def test_answer_goes_to_its_waiter(dispatcher: Dispatcher) -> None:
    first, second = dispatcher.wait_for(1), dispatcher.wait_for(2)
    dispatcher.stop_waiting(2)
    for seq in (1, 2):
        dispatcher.deliver(seq, RequestAnswer(request_id=f"r{seq}", status_code=200))
    assert (await asyncio.wait_for(first, 1)).request_id == "r1"
    assert not second.done()


def test_work_ahead_shortens_the_wait(dispatcher: Dispatcher) -> None:
    rate = dispatcher._rates["m"]
    rate.add(0.0, 0)
    rate._last_rate = 10.0
    alone = dispatcher.latest_backfill_s(work(1), [])
    behind = dispatcher.latest_backfill_s(work(1), [work(2, count=3)])
    assert alone - behind == pytest.approx(300 / 10.0)


def test_batch_api_falls_back_to_requests(dispatcher: Dispatcher) -> None:
    api = next(venue for venue in dispatcher._venues.all if venue.name == "api")
    assert not dispatcher._is_fallback(api, work(1), NOW_S)
    batch = QueuedRequests(
        batch_seq=1, seq=0, tenant="t", model="m", deadline_s=NOW_S + 9e5, tokens=1, count=1, arrived_s=NOW_S
    )
    assert dispatcher._is_fallback(api, batch, NOW_S), "its window fits: lines go there as provider batches"
    assert not dispatcher._is_fallback(api, batch, NOW_S + 8.9e5), "too late for the window"
