"""Which work is dispatched next, and who gets its answer."""

import asyncio
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from meritorder.gateway import config_file
from meritorder.gateway.app import server
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.queue import backlog, requests
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.store.queue.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.store.schema import REQUESTS
from meritorder.gateway.venues import venues
from meritorder.gateway.venues.venues import RunningRequest, Venue
from meritorder.gateway.workers import dispatch
from meritorder.gateway.workers.attempt import AttemptFailedError, no_answer
from meritorder.gateway.workers.dispatch import Dispatcher
from meritorder.gateway.workers.turns import Urgency
from meritorder.policy.backfill import Admission
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
    settings = config_file.parse_settings({"venue": [engine, BATCH_API], "store": store}, where="test")
    service = server.build_service(settings)
    yield service.dispatcher
    service.context.database.close()


def test_turns_are_fair_between_tenants(dispatcher: Dispatcher) -> None:
    queued = [work(1, "flood", count=50), work(2, "small", count=2)]
    calm = {request: Urgency(EscalationLevel.BACKFILL, NOW_S + 9e5, NOW_S + 9e5) for request in queued}
    turns = dispatcher._turns.order(queued, calm, 6, NOW_S)
    assert {entry.tenant: count for entry, count in turns} == {"flood": 4, "small": 2}


def test_served_tokens_fade(dispatcher: Dispatcher) -> None:
    dispatcher._turns.add_served("a", 20_000_000)
    dispatcher._turns.add_served("b", 1000)
    dispatcher._turns.add_served("a", 0)
    assert dispatcher._turns.served_tokens == {"a": 10_000_000, "b": 500}


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


DONE = RequestAnswer(
    request_id="r1", status_code=200, body=b"{}", venue="own", input_tokens=9, cached_tokens=4, output_tokens=5
)
SECOND = dataclasses.replace(DONE, request_id="r2")
REFUSED = RequestAnswer(request_id="r1", status_code=500, body=b"{}", venue="own")
BROKEN = no_answer("r1", "connection reset")
AnswerOutcome = RequestAnswer | Exception | int


class Sent:
    """Ends each attempt with the next outcome; a number is the tokens of an attempt that does not end."""

    def __init__(self, dispatcher: Dispatcher, *outcomes: AnswerOutcome) -> None:
        self.to: list[tuple[int, str, bool]] = []
        self._outcomes = list(outcomes)
        dispatcher._attempts.send = self.send  # type: ignore[method-assign]

    async def send(self, request: ClaimedRequest, venue: Venue, running: RunningRequest) -> RequestAnswer:
        self.to.append((request.seq, venue.name, running.urgent))
        outcome = self._outcomes.pop(0) if self._outcomes else DONE
        if isinstance(outcome, int):
            running.tokens = outcome
            await asyncio.sleep(5)
            raise TimeoutError
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, RequestAnswer)
        return outcome


@pytest.fixture
def ready(dispatcher: Dispatcher) -> Dispatcher:
    """A dispatcher whose clock stands, and whose engine was measured: four deferrable requests may join."""
    stopped = dataclasses.replace(dispatcher._context, now_s=lambda: NOW_S)
    dispatcher._context = dispatcher._outcomes._context = stopped
    admission = Admission(sequence_cap=4, foreign=0, max_resident=4, max_prefilling=64)
    dispatcher._headroom._admissions["own"] = admission
    return dispatcher


def queue(dispatcher: Dispatcher, **fields: Any) -> int:  # noqa: ANN401 - columns
    values = {
        "tenant": "t",
        "endpoint": "/v1/completions",
        "model": "m",
        "body": b"{}",
        "body_bytes": 2,
        "prefix": 0,
        "input_tokens": 10,
        "output_tokens": 20,
        "arrived_s": NOW_S,
        "deadline_s": NOW_S + 9e5,
        **fields,
    }
    return dispatcher._context.database.submit(lambda connection: requests.add_call(connection, **values)).result()


def row(dispatcher: Dispatcher, seq: int) -> tuple[str, int, float]:
    """The state, the faults and the earliest next attempt of a request, in seconds from now."""
    columns = (REQUESTS.c.state, REQUESTS.c.faults, REQUESTS.c.not_before_s)
    stored = dispatcher._context.database.read_now(
        lambda connection: connection.execute(select(*columns).where(REQUESTS.c.seq == seq)).one()
    )
    return stored.state, stored.faults, stored.not_before_s - NOW_S


def claimed(dispatcher: Dispatcher, seq: int) -> ClaimedRequest:
    (request,) = dispatcher._context.database.submit(
        lambda connection: requests.claim(connection, dispatcher._context.instance_id, work(seq), limit=1, now_s=NOW_S)
    ).result()
    return request


async def settle(dispatcher: Dispatcher) -> None:
    async with asyncio.timeout(5):
        while dispatcher._tasks:
            await asyncio.wait(dispatcher._tasks)


async def start(dispatcher: Dispatcher) -> None:
    """Dispatch a round, and let its requests begin."""
    await dispatcher._round()
    await asyncio.sleep(0)


def entries(dispatcher: Dispatcher) -> list[LedgerEntry]:
    seen: list[LedgerEntry] = []
    dispatcher._context.ledger_writer.observers.append(seen.append)
    return seen


@pytest.mark.asyncio
async def test_answer_is_stored_and_accounted(ready: Dispatcher) -> None:
    """It counts 30 estimated tokens as completed, and serves 9 + 5 to its tenant."""
    Sent(ready)
    seen, seq = entries(ready), queue(ready)
    waiter = ready.wait_for(seq)
    await start(ready)
    await settle(ready)
    assert row(ready, seq)[:2] == ("done", 0)
    assert (await waiter).output_tokens == 5
    assert (ready._turns.served_tokens, ready.running(), ready.tracked()) == ({"t": 14}, set(), set())
    assert [tokens for _, tokens in ready._rates["m"]._completed] == [30]
    (entry,) = seen
    assert (entry.venue, entry.input_tokens, entry.cached_tokens, entry.output_tokens) == ("own", 9, 4, 5)
    assert (entry.lost_tokens, entry.cost_picousd, entry.started_s) == (0, None, NOW_S)
    assert not ready._venues.all[0].deferrable


@pytest.mark.asyncio
async def test_preempted_tokens_are_lost(ready: Dispatcher) -> None:
    """Two attempts that were preempted after seven and three tokens lose ten; they are no faults of the request."""
    sent = Sent(ready, 7, 3, DONE)
    seen, seq = entries(ready), queue(ready)
    for _ in range(2):
        await start(ready)
        assert ready.running() == ready.tracked() == {seq}
        ready.cancel({seq, 999})
        await settle(ready)
        assert row(ready, seq) == ("queued", 0, 0.0)
    await start(ready)
    await settle(ready)
    assert [(entry.output_tokens, entry.lost_tokens) for entry in seen] == [(5, 10)]
    assert sent.to == [(seq, "own", False)] * 3


@pytest.mark.asyncio
async def test_each_attempt_has_a_row(ready: Dispatcher) -> None:
    Sent(ready, 7, DONE)
    seq = queue(ready)
    await start(ready)
    ready.cancel({seq})
    await settle(ready)
    await start(ready)
    await settle(ready)
    await ready._context.ledger_writer.flush()
    rows = ready._context.database.read_now(lambda connection: list(ledger.rows(connection)))
    attempts = sorted((row["attempt"], row["outcome"], row["request_seq"], row["lost_tokens"]) for row in rows)
    assert attempts == [(1, "preempted", seq, 0), (2, "answered", seq, 7)]
    totals = ready._context.database.read_now(ledger.totals)
    assert [total["requests"] for total in totals] == [1]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("faults", "failure", "wait_s"),
    [
        (0, AttemptFailedError(None, REFUSED, fault=False), 0.5),
        (0, AttemptFailedError(None, REFUSED, fault=True), 1.0),
        (2, AttemptFailedError(None, REFUSED, fault=True), 4.0),
        (20, AttemptFailedError(None, BROKEN, fault=True), 30.0),
        (0, AttemptFailedError(12.0, REFUSED, fault=True), 12.0),
        (0, AttemptFailedError(0.0, REFUSED, fault=False), 0.0),
        (0, AttemptFailedError(90.0, REFUSED, fault=False), 30.0),
        (3, AttemptFailedError(1.0, REFUSED, fault=True), 1.0),
        (9, AttemptFailedError(1.0, REFUSED, fault=False), 1.0),
        (23, AttemptFailedError(1.0, BROKEN, fault=True), 1.0),
    ],
)
async def test_retries_wait_longer_each_time(
    ready: Dispatcher, faults: int, failure: AttemptFailedError, wait_s: float
) -> None:
    """Waits double from half a second to half a minute, unless the venue names a time."""
    Sent(ready, failure)
    seen, seq = entries(ready), queue(ready, faults=faults)
    await start(ready)
    await settle(ready)
    assert row(ready, seq) == ("queued", faults + failure.fault, pytest.approx(wait_s))
    assert seen == []


@pytest.mark.asyncio
@pytest.mark.parametrize(("faults", "answer"), [(4, REFUSED), (24, BROKEN)])
async def test_last_fault_ends_the_request(ready: Dispatcher, faults: int, answer: RequestAnswer) -> None:
    """Five error responses or 25 broken connections end it with the last error, which costs nothing."""
    Sent(ready, AttemptFailedError(1.0, answer, fault=True))
    seen, seq = entries(ready), queue(ready, faults=faults)
    await start(ready)
    await settle(ready)
    assert row(ready, seq)[0] == "failed"
    assert [(entry.status_code, entry.cost_picousd) for entry in seen] == [(answer.status_code, 0)]


@pytest.mark.asyncio
async def test_bug_of_ours_is_a_fault(ready: Dispatcher, caplog: pytest.LogCaptureFixture) -> None:
    Sent(ready, ValueError("bug"))
    seq = queue(ready)
    await start(ready)
    await settle(ready)
    assert row(ready, seq) == ("queued", 1, 1.0)
    assert ready._context.supervisor.failures == {"requests": 1}
    assert len(caplog.records) == 1
    assert not ready._venues.all[0].deferrable


@pytest.mark.asyncio
async def test_cancelled_before_it_began(ready: Dispatcher, caplog: pytest.LogCaptureFixture) -> None:
    """It may run again at once, and no fault counts against it."""
    sent = Sent(ready)
    request = claimed(ready, queue(ready))
    ready._begin(request, ready._venues.all[0], urgent=False)
    ready.cancel({request.seq})
    await settle(ready)
    assert (row(ready, request.seq), sent.to) == (("queued", 0, 0.0), [])
    assert caplog.records == []


@pytest.mark.asyncio
async def test_stored_calls_complete_responses(ready: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the lines of batches, and not a second answer to the same call."""
    completed = list[int]()
    monkeypatch.setattr(stored_answers, "complete", lambda _, seq, _answer: completed.append(seq))
    call, line = (claimed(ready, queue(ready)) for _ in range(2))
    for request, answer in ((call, DONE), (call, SECOND), (dataclasses.replace(line, batch_seq=7), DONE)):
        await ready._outcomes.store(request, answer, ready._venues.all[0], NOW_S)
    assert completed == [call.seq]


@pytest.mark.asyncio
async def test_second_answer_has_no_effect(ready: Dispatcher) -> None:
    """A request that was ended meanwhile is not stored; what it generated is lost."""
    request = claimed(ready, queue(ready))
    ready._context.database.submit(lambda connection: requests.end(connection, request.seq)).result()
    seen = entries(ready)
    await ready._outcomes.store(request, DONE, ready._venues.all[0], NOW_S)
    assert [(entry.output_tokens, entry.lost_tokens) for entry in seen] == [(0, 5)]


@pytest.mark.asyncio
async def test_answer_costs_the_price_of_its_venue(ready: Dispatcher) -> None:
    """At $2 for input, $1 if cached and $8 for output: 5 x 2 + 4 x 1 + 5 x 8 millionths of a dollar."""
    price = {"input_usd_per_mtok": 2, "cached_usd_per_mtok": 1, "output_usd_per_mtok": 8}
    settings = config_file.parse_settings(
        {"venue": [{"name": "api", "url": "http://x", "models": ["m"], "price": price}]}, where="test"
    )
    (venue,) = venues.build_venues(settings).all
    seen = entries(ready)
    await ready._outcomes.store(claimed(ready, queue(ready)), DONE, venue, NOW_S)
    assert [entry.cost_picousd for entry in seen] == [54 * 10**6]


@pytest.mark.asyncio
async def test_abandoned_call_is_deleted(ready: Dispatcher) -> None:
    Sent(ready, 1)
    seq = queue(ready)
    ready.wait_for(seq)
    await start(ready)
    ready.abandon(seq)
    await settle(ready)
    rows = ready._context.database.read_now(lambda connection: connection.execute(select(REQUESTS)).all())
    assert (rows, ready.running(), ready._waiters) == ([], set(), {})


@pytest.mark.asyncio
async def test_only_the_batch_is_cancelled(ready: Dispatcher) -> None:
    Sent(ready, 1, 1)
    first, second = (claimed(ready, queue(ready)) for _ in range(2))
    ready._begin(dataclasses.replace(first, batch_seq=7), ready._venues.all[0], urgent=False)
    ready._begin(second, ready._venues.all[0], urgent=False)
    await asyncio.sleep(0)
    ready.cancel_batch(7)
    await asyncio.wait([ready._tracked[first.seq]])
    assert ready.running() == {second.seq}
    await ready.stop()


@pytest.mark.asyncio
async def test_calm_work_fills_backfill_only(ready: Dispatcher) -> None:
    """The engine has four sequences for backfill; the API takes the other two. The next round is not short of any."""
    sent = Sent(ready, *[1] * 6)
    for _ in range(6):
        queue(ready)
    await start(ready)
    assert [venue for _, venue, _ in sent.to] == ["own"] * 4 + ["api"] * 2
    assert not any(urgent for *_, urgent in sent.to)
    ready._wake.clear()
    ready.capacity_freed()
    assert not ready._wake.is_set(), "all work was dispatched"
    await ready.stop()
    assert ready.running() == set()
    queue(ready)
    await start(ready)
    assert len(sent.to) == 6, "a stopped dispatcher claims nothing"


@pytest.mark.asyncio
async def test_urgent_work_takes_every_sequence(ready: Dispatcher) -> None:
    """With a deadline in 45 seconds, a margin of a minute before the latest start has passed."""
    sent = Sent(ready, *[1] * 6)
    for _ in range(6):
        queue(ready, deadline_s=NOW_S + 45)
    await start(ready)
    assert sorted(sent.to) == [(seq, "own", True) for seq in range(1, 7)]
    await ready.stop()


@pytest.mark.asyncio
async def test_round_without_capacity_is_short(ready: Dispatcher) -> None:
    sent = Sent(ready)
    for venue in ready._venues.all:
        ready._headroom.mark_unavailable(venue, 60)
    queue(ready)
    await start(ready)
    ready._wake.clear()
    ready.capacity_freed()
    assert ready._wake.is_set()
    assert sent.to == []


@pytest.mark.asyncio
async def test_work_left_over_is_short(ready: Dispatcher) -> None:
    """Four sequences of the engine and 64 of the API take 68 of 70 requests."""
    sent = Sent(ready, *[1] * 68)
    for _ in range(70):
        queue(ready)
    await start(ready)
    assert len(sent.to) == 68
    ready._wake.clear()
    ready.capacity_freed()
    assert ready._wake.is_set()
    await ready.stop()


@pytest.mark.asyncio
async def test_places_of_missing_work_are_used(ready: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four requests that take the engine's four sequences, another gateway has claimed two: a round follows."""
    sent = Sent(ready, *[1] * 4)
    seqs = [queue(ready) for _ in range(4)]
    listed = ready._context.database.read_now(lambda connection: backlog.queued_work(connection, now_s=NOW_S))
    for seq in seqs[:2]:
        claimed(ready, seq)
    monkeypatch.setattr(backlog, "queued_work", lambda _, **__: listed)
    ready._wake.clear()
    await start(ready)
    assert [seq for seq, *_ in sent.to] == seqs[2:]
    assert ready._wake.is_set()
    await ready.stop()


@pytest.mark.asyncio
async def test_models_fail_alone(ready: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the dispatch of one model's work leaves the work of the others."""
    served = Dispatcher._dispatch

    async def dispatch_all_but(self: Dispatcher, model: str, *arguments: Any) -> int:  # noqa: ANN401 - passed on
        if model == "n":
            raise RecursionError
        return await served(self, model, *arguments)

    monkeypatch.setattr(Dispatcher, "_dispatch", dispatch_all_but)
    sent = Sent(ready)
    queue(ready, model="n", deadline_s=1.0)
    seq = queue(ready)
    await ready._round()
    await settle(ready)
    assert sent.to == [(seq, "own", False)]
    assert row(ready, seq)[0] == "done"
    assert ready._context.supervisor.failures == {"dispatch": 1}


@pytest.mark.asyncio
async def test_changes_outlast_the_store(ready: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again every half second."""
    waits: list[float] = []

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)

    monkeypatch.setattr(dispatch.asyncio, "sleep", sleep)
    failures = [StoreUnavailableError("down")] * 2

    async def write() -> str:
        if failures:
            raise failures.pop()
        return "made"

    assert await ready._outcomes._durably(write) == "made"
    assert waits == [0.5, 0.5]


def urgency(dispatcher: Dispatcher, *works: QueuedRequests, rate: float | None = None) -> dict[QueuedRequests, Urgency]:
    if rate is not None:
        dispatcher._rates["m"]._last_rate = rate
    return dispatcher._urgency("m", works, dispatcher._venues.all, NOW_S)


def test_latest_start_counts_work_ahead(ready: Dispatcher) -> None:
    """At 10 tokens/s, 100 tokens take 10 s, and 200 behind them 30 s, a minute before the deadline."""
    late, early = work(1, deadline_s=NOW_S + 2000, count=2), work(2, deadline_s=NOW_S + 1000)
    urgent = urgency(ready, late, early, rate=10.0)
    assert urgent[early].latest_backfill_s - NOW_S == pytest.approx(1000 - 60 - 10)
    assert urgent[late].latest_backfill_s - NOW_S == pytest.approx(2000 - 60 - 30)


def test_unknown_rate_waits_for_plan_with_care(ready: Dispatcher) -> None:
    """Without a measured rate only the margin counts; a plan is waited for at half of 128 sequences a TPOT."""
    (urgent,) = urgency(ready, work(1, deadline_s=NOW_S + 1000)).values()
    assert urgent.latest_backfill_s == NOW_S + 940
    safe_tokens_per_s = 0.5 * 128 / ready._tpot_s
    assert urgent.plan_wait_s - NOW_S == pytest.approx(940 - 100 / safe_tokens_per_s)


def test_slot_at_the_latest_start_is_in_time(ready: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 10,000 tokens/s, 100 tokens take 10 ms; work that misses its slot assumes a safe rate instead."""
    latest_s = NOW_S + 1000 - 60 - 0.01
    safe_s = NOW_S + 1000 - 60 - 100 / (0.5 * 128 / ready._tpot_s)
    for next_slot_s, wait_s in ((latest_s - 1, latest_s), (latest_s, latest_s), (latest_s + 1, safe_s)):
        monkeypatch.setattr(ready._plan_executor, "next_slot_s", lambda *_, start_s=next_slot_s: start_s)
        (urgent,) = urgency(ready, work(1, deadline_s=NOW_S + 1000), rate=10_000.0).values()
        assert urgent.latest_backfill_s == latest_s
        assert urgent.plan_wait_s == wait_s


def test_startup_shortens_both_waits(ready: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines that take five minutes to start must be started five minutes earlier."""
    soon = work(1, deadline_s=NOW_S + 1000)
    (without,) = urgency(ready, soon).values()
    monkeypatch.setattr(ready._plan_executor, "startup_s", lambda _: 300.0)
    (delayed,) = urgency(ready, soon).values()
    assert without.latest_backfill_s - delayed.latest_backfill_s == pytest.approx(300)
    assert without.plan_wait_s - delayed.plan_wait_s == pytest.approx(300)


@pytest.mark.parametrize(
    ("left_s", "level"),
    [
        (61.0, EscalationLevel.BACKFILL),
        (60.0, EscalationLevel.REALTIME),
        (30.0, EscalationLevel.REALTIME),
        (29.9, EscalationLevel.FALLBACK),
    ],
)
def test_work_escalates_at_its_margins(ready: Dispatcher, left_s: float, level: EscalationLevel) -> None:
    """A margin of a minute before real-time capacity, and half of one before fallbacks."""
    (urgent,) = urgency(ready, work(1, deadline_s=NOW_S + left_s)).values()
    assert urgent.level is level


def test_work_falls_back_if_all_is_down(ready: Dispatcher) -> None:
    for venue in ready._venues.all:
        ready._headroom.mark_unavailable(venue, 60)
    (urgent,) = urgency(ready, work(1, deadline_s=NOW_S + 50)).values()
    assert urgent.level is EscalationLevel.FALLBACK


def test_served_tokens_fade_only_above_limit(dispatcher: Dispatcher) -> None:
    dispatcher._turns.add_served("a", 10_000_000)
    dispatcher._turns.add_served("a", 2)
    assert dispatcher._turns.served_tokens == {"a": 10_000_002}
    dispatcher._turns.add_served("a", 1)
    assert dispatcher._turns.served_tokens == {"a": 5_000_002}
    dispatcher._turns.add_served("b", 10_000_001)
    dispatcher._turns.add_served("b", 1)
    assert dispatcher._turns.served_tokens == {"a": 2_500_001, "b": 5_000_001.5}


def test_turns_are_limited_by_capacity(dispatcher: Dispatcher) -> None:
    """Tokens are counted per request: two requests of 50 tokens are served for one of 100."""
    small = dataclasses.replace(work(1, "small", count=4), tokens=200)
    large, empty = work(2, "large", count=4), dataclasses.replace(work(3, "empty"), tokens=0)
    calm = {queued: Urgency(EscalationLevel.BACKFILL, math.inf, math.inf) for queued in (small, large, empty)}
    assert dict(dispatcher._turns.order([small, large], calm, 3, NOW_S)) == {small: 2, large: 1}
    assert dispatcher._turns.order([small], calm, 9, NOW_S) == [(small, 4)]
    assert dispatcher._turns.order([empty], calm, 0, NOW_S) == []


def test_turns_count_tokens_of_each_request(dispatcher: Dispatcher) -> None:
    """One request of 100 tokens is followed by two of 60; work without an estimate counts as one token."""
    single, batch = work(1, "single"), dataclasses.replace(work(2, "batch", count=3), tokens=180)
    again = work(3, "single")
    calm = {queued: Urgency(EscalationLevel.BACKFILL, math.inf, math.inf) for queued in (single, batch, again)}
    assert dict(dispatcher._turns.order([single, batch, again], calm, 3, NOW_S)) == {single: 1, batch: 2}
    unknown, known = (
        dataclasses.replace(work(number, tenant, count=4), tokens=tokens)
        for number, tenant, tokens in ((1, "unknown", 0), (2, "known", 4))
    )
    calm = {queued: Urgency(EscalationLevel.BACKFILL, math.inf, math.inf) for queued in (unknown, known)}
    assert dict(dispatcher._turns.order([unknown, known], calm, 3, NOW_S)) == {unknown: 2, known: 1}


@pytest.mark.asyncio
async def test_work_waiting_for_plan_hides_none(ready: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of six requests wait for their slot, so three more are read in the next round, but never above 1,200."""
    sent, limits = Sent(ready), list[int]()
    find_targets, read = ready._plan_executor.deferrable_targets, backlog.queued_work

    def targets(work: QueuedRequests, *arguments: Any) -> Any:  # noqa: ANN401 - passed on
        return find_targets(work, *arguments) if work.seq > 3 else []

    def queued_work(connection: Connection, *, now_s: float, limit: int, **_: object) -> list[QueuedRequests]:
        limits.append(limit)
        return read(connection, now_s=now_s, limit=limit)

    monkeypatch.setattr(ready._plan_executor, "deferrable_targets", targets)
    monkeypatch.setattr(backlog, "queued_work", queued_work)
    for _ in range(6):
        queue(ready)
    for _ in range(2):
        await start(ready)
        await settle(ready)
    assert [seq for seq, *_ in sent.to] == [4, 5, 6]
    ready._waiting_for_plan = 5000
    await start(ready)
    assert limits == [200, 203, 1200]


def test_models_are_full_without_any_venue(dispatcher: Dispatcher) -> None:
    assert dispatcher._full_models({"own": 0, "api": 0}) == ["m"]
    assert dispatcher._full_models({"own": 0, "api": 1}) == []


@pytest.mark.asyncio
async def test_second_delivery_has_no_effect(dispatcher: Dispatcher) -> None:
    waiter = dispatcher.wait_for(1)
    assert dispatcher.wait_for(1) is waiter
    waiter.cancel()
    dispatcher.deliver(1, DONE)
    dispatcher.deliver(1, DONE)
    assert waiter.cancelled()


def test_batch_lines_leave_provider_to_batch_api(dispatcher: Dispatcher) -> None:
    api = next(venue for venue in dispatcher._venues.all if venue.name == "api")
    batch = dataclasses.replace(work(0), batch_seq=1)
    assert not dispatcher._is_fallback(api, work(0), NOW_S)
    assert dispatcher._is_fallback(api, batch, NOW_S)
    for _ in range(2):
        dispatcher.batch_ways.record_failure(api, 1)
    assert not dispatcher._is_fallback(api, batch, NOW_S)
