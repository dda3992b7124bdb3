"""Releases work that waits: claims it, runs it where there is room, and stores each answer once."""

import asyncio
import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from sqlalchemy import Connection

from meritorder.gateway import usage as usages
from meritorder.gateway.assemble import Assembly
from meritorder.gateway.config import duration_s
from meritorder.gateway.core import Core
from meritorder.gateway.errors import NotCarried, StoreUnavailable, Unavailable, UpstreamError
from meritorder.gateway.headroom import Headroom
from meritorder.gateway.store import files, kept, waiting
from meritorder.gateway.store.ledger import Entry
from meritorder.gateway.store.waiting import Answer, Claimed, Waiting
from meritorder.gateway.upstreams import retry
from meritorder.gateway.upstreams.upstream import Call
from meritorder.gateway.usage import Usage
from meritorder.gateway.venues import Seat, Venue, Venues
from meritorder.gateway.wire import calls
from meritorder.policy import queue
from meritorder.units import utc

LANE: Final = "deferrable"
_ROUND_S: Final = 0.5  # when nothing happens; whatever happens begins a round at once
_STORE_AGAIN_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
_FIRST_WAIT_S: Final = 0.5
_BROKEN_PER_ATTEMPT: Final = 5  # broken connections that count as much as one error of the venue's own
_DRAIN_WINDOW_S: Final = 60.0
_BLOBS_KNOWN: Final = 1000
_log: Final = logging.getLogger(__name__)


class _Refused(Exception):  # noqa: N818 - this attempt; the request goes back into the queue
    def __init__(self, wait_s: float | None, given: Answer, *, fault: bool) -> None:
        super().__init__(given.error_message)
        self.wait_s, self.given, self.fault = wait_s, given, fault


class Release:
    """The worker.

    Args:
        core: What is shared.
        venues: Where work runs.
        headroom: How much of it there is room for.
    """

    def __init__(self, core: Core, venues: Venues, headroom: Headroom) -> None:
        self._core = core
        self._venues = venues
        self._headroom = headroom
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: dict[int, tuple[Claimed, Seat]] = {}
        self._held: dict[int, asyncio.Future[Answer]] = {}
        self._lost: Counter[int] = Counter()
        self._blobs: dict[int, str] = {}
        self._drained: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)
        self._margin_s = duration_s(core.settings.lanes.margin)
        self._stopping = False

    @property
    def running(self) -> int:
        """Requests that run now."""
        return len(self._running)

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    def hold(self, seq: int) -> "asyncio.Future[Answer]":
        """Return what will be the answer of a call, for a client that holds the line."""
        return self._held.setdefault(seq, asyncio.get_running_loop().create_future())

    def forget(self, seq: int) -> None:
        """Nobody holds the line any more; if the call runs, it is broken off."""
        self._held.pop(seq, None)
        self.break_off({seq})

    def break_off(self, seqs: set[int]) -> None:
        """Stop requests whose answers are not wanted any more."""
        for seq in seqs & self._running.keys():
            self._running[seq][1].task.cancel()

    def break_off_batch(self, batch_seq: int) -> None:
        """Stop the requests of a batch that is over."""
        self.break_off({seq for seq, (claimed, _) in self._running.items() if claimed.batch_seq == batch_seq})

    def at_work(self) -> set[int]:
        """Return the requests that run now."""
        return set(self._running)

    def tell(self, seq: int, given: Answer) -> None:
        """Hand an answer to the client that holds the line for it."""
        held = self._held.pop(seq, None)
        if held is not None and not held.done():
            held.set_result(given)

    async def keep_releasing(self) -> None:
        """Release what there is room for, until cancelled."""
        while True:
            try:
                await self._round()
            except StoreUnavailable as error:
                _log.warning("the store cannot be reached: %s", error)
                await asyncio.sleep(_STORE_AGAIN_S)
            try:
                await asyncio.wait_for(self._wake.wait(), _ROUND_S)
            except TimeoutError:
                continue
            self._wake.clear()

    async def stop(self) -> None:
        """Give back what runs, and begin nothing more."""
        self._stopping = True
        for _, seat in list(self._running.values()):
            seat.called_back = True
            seat.task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    async def _round(self) -> None:
        now_s = self._core.now_s()
        room = {venue.name: self._headroom.room(venue) for venue in self._venues.all}
        capacity = {venue.name: self._headroom.capacity(venue) for venue in self._venues.all}
        if not any(capacity.values()):
            return
        found = await self._core.database.read(lambda connection: waiting.open_work(connection, now_s=now_s))
        by_model: defaultdict[str, list[Waiting]] = defaultdict(list)
        for work in found:
            by_model[work.model].append(work)
        for model, works in by_model.items():
            await self._release(model, works, room, capacity, now_s)

    async def _release(
        self, model: str, works: list[Waiting], room: dict[str, int], capacity: dict[str, int], now_s: float
    ) -> None:
        """Give the seats there are to the work for one model, the most urgent first."""
        venues = self._venues.serving(model, LANE)
        running = Counter(claimed.tenant for claimed, _ in self._running.values())
        asked = [
            queue.Queued(tenant=w.tenant, deadline_s=w.deadline_s, tokens=w.tokens, running=running[w.tenant])
            for w in works
        ]
        latest = queue.latest_starts_s(asked, drain_tokens_per_s=self._drain(model), margin_s=self._margin_s)
        for i in queue.order(asked, latest, now_s=now_s):
            urgent = latest[i] <= now_s
            for venue in venues:
                free = capacity[venue.name] if urgent else 0 if venue.table.fallback else room[venue.name]
                if free <= 0:
                    continue
                taken = await self._claim(works[i], free)
                for request in taken:
                    self._begin(request, venue)
                room[venue.name] -= len(taken)
                capacity[venue.name] -= len(taken)
                if len(taken) < free:
                    break  # there is no more of it

    async def _claim(self, work: Waiting, limit: int) -> list[Claimed]:
        now_s = self._core.now_s()
        if self._stopping:
            return []
        return await self._core.database.write(
            lambda connection: waiting.claim(connection, self._core.me, work, limit=limit, now_s=now_s)
        )

    def _begin(self, request: Claimed, venue: Venue) -> None:
        task = asyncio.create_task(self._serve(request, venue))
        seat = Seat(task)
        venue.seated.append(seat)
        self._running[request.seq] = (request, seat)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, request: Claimed, venue: Venue) -> None:
        """Run a request that was claimed; it leaves `running` in one way or another."""
        seat = self._running[request.seq][1]
        started_s = self._core.now_s()
        try:
            given = await self._attempt(request, venue, seat)
        except _Refused as refused:
            self._stand_up(request, venue, seat)
            await self._give_back(request, refused)
            return
        except asyncio.CancelledError:
            self._stand_up(request, venue, seat)
            self._lost[request.seq] += seat.tokens
            now_s = self._core.now_s()
            await self._durably(
                lambda connection: waiting.release(connection, self._core.me, request, not_before_s=now_s, fault=False)
            )
            return
        self._stand_up(request, venue, seat)
        await self._store(request, given, venue, started_s)

    def _stand_up(self, request: Claimed, venue: Venue, seat: Seat) -> None:
        venue.seated.remove(seat)
        self._running.pop(request.seq, None)
        self._wake.set()

    async def _attempt(self, request: Claimed, venue: Venue, seat: Seat) -> Answer:
        """Ask the venue.

        Raises:
            _Refused: Not now, or not here.
        """
        core = self._core
        request_id = core.new_id("req_")
        try:
            body = await self._body(request)
        except StoreUnavailable as error:
            raise _Refused(_STORE_AGAIN_S, _no_answer(request_id, str(error)), fault=False) from None
        stream = venue.streams(request.endpoint)
        body = _streamed(body) if stream else calls.with_fields(body, stream=None, stream_options=None)
        try:
            reply = await venue.upstream.send(
                Call(
                    path=request.endpoint,
                    body=venue.body_for(request.model, body),
                    stream=stream,
                    model=venue.served[request.model],
                    tokens=request.input_tokens + request.output_tokens,
                    deferrable=True,
                )
            )
        except NotCarried as error:
            problem = {
                "error": {"message": error.what, "type": "invalid_request_error", "param": error.param, "code": None}
            }
            return Answer(request_id=request_id, status_code=400, body=calls.encode(problem), venue=venue.name)
        except Unavailable as error:
            self._headroom.unavailable(venue, error.retry_after_s)
            raise _Refused(error.retry_after_s, _no_answer(request_id, error.what), fault=False) from None
        except UpstreamError as error:
            raise _Refused(None, _no_answer(request_id, error.what), fault=True) from None
        try:
            if stream and reply.status == 200:
                answer = await _assembled(reply.body, venue, seat)
            else:
                answer = await reply.read()
        except UpstreamError as error:
            raise _Refused(None, _no_answer(request_id, error.what), fault=True) from None
        finally:
            await reply.close()
        return self._judged(
            request_id, reply.status, answer, venue, retry.retry_after_s(reply.headers, utc(core.now_s()))
        )

    def _judged(self, request_id: str, status: int, body: bytes, venue: Venue, after_s: float | None) -> Answer:
        used = usages.of_answer(body) or Usage()
        given = Answer(
            request_id=request_id,
            status_code=status,
            body=body,
            venue=venue.name,
            input_tokens=used.input_tokens,
            cached_tokens=used.cached_tokens,
            output_tokens=used.output_tokens,
            reasoning_tokens=used.reasoning_tokens,
        )
        if retry.passes(status):
            raise _Refused(after_s, given, fault=retry.is_fault(status))
        if 200 <= status < 300 and not calls.is_json(body):
            raise _Refused(None, _no_answer(request_id, "the answer is not JSON"), fault=True)
        return given

    async def _body(self, request: Claimed) -> bytes:
        if request.body is not None:
            return request.body
        blob = await self._blob(request.batch_seq or 0)
        (body,) = await self._core.blobs.parts(blob, [(request.body_at or 0, request.body_bytes)])
        return body

    async def _blob(self, batch_seq: int) -> str:
        blob = self._blobs.get(batch_seq)
        if blob is None:
            blob = await self._core.database.read(lambda connection: files.blob_of_batch(connection, batch_seq))
            if blob is None:
                raise StoreUnavailable("the input file is not there")
            if len(self._blobs) >= _BLOBS_KNOWN:
                self._blobs.clear()
            self._blobs[batch_seq] = blob
        return blob

    async def _give_back(self, request: Claimed, refused: _Refused) -> None:
        """Queue a request again, later; or store its last error, if it has had enough attempts."""
        faults = request.faults + (1 if refused.fault else 0)
        attempts = self._core.settings.limits.attempts
        answered = refused.given.status_code is not None
        now_s = self._core.now_s()
        if refused.fault and faults >= (attempts if answered else attempts * _BROKEN_PER_ATTEMPT):
            await self._store(request, refused.given, None, now_s)
            return
        wait_s = refused.wait_s
        if wait_s is None:
            wait_s = _FIRST_WAIT_S * 2.0 ** min(faults, 10)
        not_before_s = now_s + min(wait_s, _LONGEST_WAIT_S)
        await self._durably(
            lambda connection: waiting.release(
                connection, self._core.me, request, not_before_s=not_before_s, fault=refused.fault
            )
        )

    async def _store(self, request: Claimed, given: Answer, venue: Venue | None, started_s: float) -> None:
        now_s = self._core.now_s()

        def change(connection: Connection) -> bool:
            stored = waiting.answer(connection, self._core.me, request, given, now_s=now_s)
            if stored and request.batch_seq is None:
                kept.answered(connection, request.seq, given)
            return stored

        stored = await self._durably(change)
        tokens = given.input_tokens + given.output_tokens
        self._drained[request.model].append((time.monotonic(), tokens))
        self._enter(request, given, venue, started_s, stored=bool(stored))
        self.tell(request.seq, given)

    async def _durably(self, change: Callable[[Connection], bool]) -> bool:
        """Make a change, however long the database is gone."""
        while True:
            try:
                return await asyncio.shield(self._core.database.write(change))
            except StoreUnavailable as error:
                _log.warning("an answer waits for the store: %s", error)
                await asyncio.sleep(_STORE_AGAIN_S)

    def _enter(self, request: Claimed, given: Answer, venue: Venue | None, started_s: float, *, stored: bool) -> None:
        """Write the row of the ledger."""
        used = Usage(
            input_tokens=given.input_tokens, cached_tokens=given.cached_tokens, output_tokens=given.output_tokens
        )
        cost = venue.cost_picousd(used) if venue is not None else 0
        self._core.keyring.spend(request.key_id, cost)
        lost_tokens = self._lost.pop(request.seq, 0) + (0 if stored else given.output_tokens)
        self._core.book.add(
            Entry(
                request_id=given.request_id,
                arrived_s=request.arrived_s,
                started_s=started_s,
                ended_s=self._core.now_s(),
                ttft_s=None,
                lane=LANE,
                tenant=request.tenant,
                key_id=request.key_id,
                model=request.model,
                endpoint=request.endpoint,
                venue=venue.name if venue else given.venue,
                deadline_s=request.deadline_s,
                status_code=given.status_code,
                input_tokens=used.input_tokens,
                cached_tokens=used.cached_tokens,
                output_tokens=used.output_tokens if stored else 0,
                lost_tokens=lost_tokens,
                counted=used.input_tokens > 0,
                cost_picousd=cost,
            )
        )

    def _drain(self, model: str) -> float:
        """Return the tokens a second that were answered lately; 0 while that is not known."""
        drained, now_s = self._drained[model], time.monotonic()
        while drained and drained[0][0] < now_s - _DRAIN_WINDOW_S:
            drained.popleft()
        if len(drained) < 2:
            return 0.0
        return sum(tokens for _, tokens in drained) / max(1.0, now_s - drained[0][0])


async def _assembled(chunks: AsyncIterator[bytes], venue: Venue, seat: Seat) -> bytes:
    assembly = Assembly(venue.name)

    async def watched() -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield chunk
            seat.tokens = assembly.tokens

    return await assembly.read(watched())


def _streamed(body: bytes) -> bytes:
    return calls.with_fields(body, stream=True, stream_options={"include_usage": True})


def _no_answer(request_id: str, what: str) -> Answer:
    return Answer(request_id=request_id, status_code=None, error_code="upstream_error", error_message=what)
