"""Releases work that waits: claims it, runs it where there is room, and stores each answer once."""

import asyncio
import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from meritorder.gateway.config import duration_s
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import requests, stored_answers
from meritorder.gateway.store.ledger import Entry
from meritorder.gateway.store.requests import ClaimedRequest, QueuedRequests, RequestAnswer
from meritorder.gateway.venues.headroom import Headroom
from meritorder.gateway.venues.plan_executor import PlanExecutor
from meritorder.gateway.venues.venues import RunningRequest, Venue, Venues
from meritorder.gateway.wire.usage import Usage
from meritorder.gateway.workers.attempt import Attempts, Refused, no_answer
from meritorder.gateway.workers.completion_rate import CompletionRate
from meritorder.policy.escalation import EscalationLevel, escalation_level, latest_backfill_s, needs_provider_batch
from meritorder.policy.order import DispatchCandidate, dispatch_order
from meritorder.policy.schedule import safe_completion_tokens_per_s

T = TypeVar("T")

LANE: Final = "deferrable"
_ROUND_S: Final = 0.5  # when nothing happens; whatever happens begins a round at once
_STORE_AGAIN_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
_FIRST_WAIT_S: Final = 0.5
_BROKEN_PER_ATTEMPT: Final = 5  # broken connections that count as much as one error of the venue's own
_SERVED_TOKENS_HELD: Final = 1e7
_SEEN: Final = 200
_MOST_HELD_SEEN: Final = 1000
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Escalated:
    """How far work has escalated, and since when; and until when it may wait for the plan."""

    level: EscalationLevel
    latest_s: float
    until_s: float


class Dispatcher:
    """The worker.

    Args:
        context: What is shared.
        venues: Where work runs.
        headroom: How much of it there is room for.
        plan_executor: Which of it the plan uses now.
    """

    def __init__(self, context: Context, venues: Venues, headroom: Headroom, plan_executor: PlanExecutor) -> None:
        self._context = context
        self._venues = venues
        self._headroom = headroom
        self._plan_executor = plan_executor
        self._asking = Attempts(context, headroom, self.wake)
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: dict[int, tuple[ClaimedRequest, RunningRequest]] = {}
        self._known: dict[int, asyncio.Task[None]] = {}
        self._held: dict[int, asyncio.Future[RequestAnswer]] = {}
        self._lost: Counter[int] = Counter()
        self._drains: defaultdict[str, CompletionRate] = defaultdict(CompletionRate)
        self._served_tokens: dict[str, float] = {}
        self._margin_s = duration_s(context.settings.lanes.margin)
        self._tpot_s = duration_s(context.settings.lanes.tpot)
        self._waits_for_plan = 0
        self._stopping = self._short_of_room = False

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    def capacity_freed(self) -> None:
        """Look for work now if there was more than there was room for."""
        if self._short_of_room:
            self._wake.set()

    def latest_backfill_s(self, work: QueuedRequests, ahead: Sequence[QueuedRequests]) -> float:
        """Return until when work may be left to the gaps, behind what is due before it."""
        drain = self._drains[work.model].tokens_per_s(time.monotonic())
        ahead_tokens = work.tokens + sum(each.tokens for each in ahead)
        return latest_backfill_s(work.deadline_s, ahead_tokens, drain, self._margin_s)

    def wait_for(self, seq: int) -> "asyncio.Future[RequestAnswer]":
        """Return what will be the answer of a call, for a client that holds the line."""
        return self._held.setdefault(seq, asyncio.get_running_loop().create_future())

    def stop_waiting(self, seq: int) -> None:
        """Tell nobody of an answer, which is made and kept all the same."""
        self._held.pop(seq, None)

    def abandon(self, seq: int) -> None:
        """Nobody holds the line any more: if the call runs, it is broken off; in any case it is dropped."""
        self._held.pop(seq, None)
        self.cancel({seq})
        self._spawn(self._durably(lambda connection: requests.end_and_delete(connection, seq)))

    def cancel(self, seqs: set[int]) -> None:
        """Stop requests whose answers are not wanted any more."""
        for seq in seqs & self._running.keys():
            self._running[seq][1].task.cancel()

    def cancel_batch(self, batch_seq: int) -> None:
        """Stop the requests of a batch that is over."""
        self.cancel({seq for seq, (claimed, _) in self._running.items() if claimed.batch_seq == batch_seq})

    def running(self) -> set[int]:
        """Return the requests that run now."""
        return set(self._running)

    def tracked(self) -> set[int]:
        """Return the requests that run now, or are on their way back to the store."""
        return set(self._known)

    def deliver(self, seq: int, given: RequestAnswer) -> None:
        """Hand an answer to the client that holds the line for it."""
        held = self._held.pop(seq, None)
        if held is not None and not held.done():
            held.set_result(given)

    async def run(self) -> None:
        """Dispatch what fits, until cancelled."""
        while True:
            try:
                await self._round()
            except StoreUnavailableError:
                await asyncio.sleep(_STORE_AGAIN_S)
            except Exception:  # noqa: BLE001 - work goes on, whatever happens once
                _log.exception("a round failed; it will be tried again")
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
            seat.preempted = True
            seat.task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    async def _round(self) -> None:
        now_s = self._context.now_s()
        room = {
            v.name: int(min(self._headroom.backfill(v), self._plan_executor.max_backfill(v))) for v in self._venues.all
        }
        capacity = {venue.name: self._headroom.capacity(venue) for venue in self._venues.all}
        if not any(capacity.values()):
            self._short_of_room = True
            return
        # What is held for the plan is not to hide what may go; the most urgent is seen in any case.
        limit = _SEEN + min(self._waits_for_plan, _MOST_HELD_SEEN)
        found = await self._context.database.read(
            lambda connection: requests.queued_work(connection, now_s=now_s, limit=limit)
        )
        self._waits_for_plan = 0
        by_model: defaultdict[str, list[QueuedRequests]] = defaultdict(list)
        for work in found:
            by_model[work.model].append(work)
        begun = 0
        for model, works in by_model.items():
            begun += await self._release(model, works, room, capacity, now_s)
        self._short_of_room = begun < sum(work.count for work in found)

    async def _release(
        self, model: str, works: list[QueuedRequests], room: dict[str, int], capacity: dict[str, int], now_s: float
    ) -> int:
        """Give the seats there are to the work for one model, the most urgent first; return how much began."""
        begun = 0
        venues = self._venues.serving(model, LANE)
        levels = self._levels(model, works, venues, now_s)
        # What waits for its slot takes no turn of what may go.
        ready = [
            each for each in works if self._plan_executor.deferrable_targets(each, venues, levels[each].until_s, now_s)
        ]
        self._waits_for_plan += len(works) - len(ready)
        for work, wanted in self._turns(ready, levels, sum(capacity[venue.name] for venue in venues), now_s):
            level, left = levels[work].level, wanted
            for turn in self._plan_executor.deferrable_targets(work, venues, levels[work].until_s, now_s):
                venue = turn.venue
                if not turn.planned and self._is_fallback(venue, work, now_s) and level is not EscalationLevel.FALLBACK:
                    continue
                free = min(
                    room[venue.name] if level is EscalationLevel.BACKFILL else capacity[venue.name], left, turn.most
                )
                taken = await self._claim(work, int(free)) if free > 0 else []
                for request in taken:
                    self._begin(request, venue, urgent=level is not EscalationLevel.BACKFILL)
                self._plan_executor.record_dispatch(work, venue, len(taken))
                room[venue.name] -= len(taken)
                capacity[venue.name] -= len(taken)
                left -= len(taken)
                begun += len(taken)
                if left <= 0:
                    break
        return begun

    def _levels(
        self, model: str, works: list[QueuedRequests], venues: Sequence[Venue], now_s: float
    ) -> dict[QueuedRequests, "_Escalated"]:
        """Return how far each has escalated: it may take real-time capacity, or a fallback venue, at the end."""
        drain = self._drains[model].tokens_per_s(time.monotonic())
        startup_s = self._plan_executor.startup_s(venues)
        levels, ahead_tokens = {}, 0
        for work in sorted(works, key=lambda each: each.deadline_s):
            ahead_tokens += work.tokens
            latest_s = latest_backfill_s(work.deadline_s, ahead_tokens, drain, self._margin_s) - startup_s
            until_s = latest_s
            if math.isinf(drain) or self._plan_executor.next_slot_s(work, now_s) > latest_s:
                sure = safe_completion_tokens_per_s(drain, sum(venue.max_sequences for venue in venues), self._tpot_s)
                until_s = latest_backfill_s(work.deadline_s, ahead_tokens, sure, self._margin_s) - startup_s
            up = any(self._headroom.is_up(each) for each in venues if not self._is_fallback(each, work, now_s))
            level = escalation_level(
                work.deadline_s, 0.0, latest_s, own_venue_up=up, margin_s=self._margin_s / 2, now_s=now_s
            )
            levels[work] = _Escalated(level, latest_s, until_s)
        return levels

    def _is_fallback(self, venue: Venue, work: QueuedRequests, now_s: float) -> bool:
        """Say whether work goes there, request by request, only when it would be late elsewhere."""
        if work.batch_seq is None or venue.batches is None:
            return venue.table.fallback
        return needs_provider_batch(
            work.deadline_s, now_s, duration_s(venue.table.batch_window), self._margin_s, own=False, now_s=now_s
        )

    def _turns(
        self, works: list[QueuedRequests], levels: dict[QueuedRequests, "_Escalated"], seats: int, now_s: float
    ) -> list[tuple[QueuedRequests, int]]:
        """Return whose turn it is, and for how many seats."""
        asking = [work for work in works for _ in range(min(work.count, seats))]
        candidates = [
            DispatchCandidate(
                latest_start_s=levels[work].latest_s,
                tenant=work.tenant,
                tokens=max(1, work.tokens // max(1, work.count)),
                prefix=f"{work.batch_seq or work.seq}",
            )
            for work in asking
        ]
        chosen = dispatch_order(candidates, served_tokens=self._served_tokens, now_s=now_s, count=seats)
        return list(Counter(asking[at] for at in chosen).items())

    async def _claim(self, work: QueuedRequests, limit: int) -> list[ClaimedRequest]:
        now_s = self._context.now_s()
        if self._stopping:
            return []
        return await self._context.database.write(
            lambda connection: requests.claim(connection, self._context.me, work, limit=limit, now_s=now_s)
        )

    def _begin(self, request: ClaimedRequest, venue: Venue, *, urgent: bool) -> None:
        work = partial(self._serve, request, venue)
        traced = self._context.telemetry
        task = self._spawn(traced.run(work, request, venue.name, self._context.now_s()) if traced else work())
        seat = RunningRequest(task, urgent=urgent)
        venue.deferrable.append(seat)
        self._running[request.seq] = (request, seat)
        self._known[request.seq] = task
        task.add_done_callback(lambda ended: self._ended(ended, request, venue, seat))

    def _ended(self, task: "asyncio.Task[None]", request: ClaimedRequest, venue: Venue, seat: RunningRequest) -> None:
        """Give back what is still seated: it was called back before it had even begun, or it is our fault."""
        if self._known.get(request.seq) is task:  # else it was claimed again meanwhile
            del self._known[request.seq]
        if seat not in venue.deferrable:
            return
        self._stand_up(request, venue, seat)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("a request failed; it will be tried again", exc_info=error)
        refused = Refused(None if error else 0.0, no_answer("", "the gateway failed"), fault=error is not None)
        self._spawn(self._give_back(request, refused))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, request: ClaimedRequest, venue: Venue) -> None:
        """Run a request that was claimed; it leaves `running` in one way or another."""
        seat = self._running[request.seq][1]
        started_s = self._context.now_s()
        try:
            given = await self._asking.ask(request, venue, seat)
        except Refused as refused:
            self._stand_up(request, venue, seat)
            await self._give_back(request, refused)
            return
        except asyncio.CancelledError:
            self._stand_up(request, venue, seat)
            self._lost[request.seq] += seat.tokens
            now_s = self._context.now_s()
            await self._durably(
                lambda connection: requests.requeue(
                    connection, self._context.me, request, not_before_s=now_s, fault=False
                )
            )
            return
        self._stand_up(request, venue, seat)
        await self._store(request, given, venue, started_s)

    def _stand_up(self, request: ClaimedRequest, venue: Venue, seat: RunningRequest) -> None:
        venue.deferrable.remove(seat)
        self._running.pop(request.seq, None)
        self._wake.set()

    async def _give_back(self, request: ClaimedRequest, refused: Refused) -> None:
        """Queue a request again, later; or store its last error, if it has had enough attempts."""
        faults = request.faults + (1 if refused.fault else 0)
        attempts = self._context.settings.limits.attempts
        answered = refused.given.status_code is not None
        now_s = self._context.now_s()
        if refused.fault and faults >= (attempts if answered else attempts * _BROKEN_PER_ATTEMPT):
            await self._store(request, refused.given, None, now_s)
            return
        wait_s = refused.wait_s
        if wait_s is None:
            wait_s = _FIRST_WAIT_S * 2.0 ** min(faults, 10)
        not_before_s = now_s + min(wait_s, _LONGEST_WAIT_S)
        await self._durably(
            lambda connection: requests.requeue(
                connection, self._context.me, request, not_before_s=not_before_s, fault=refused.fault
            )
        )

    async def _store(
        self, request: ClaimedRequest, given: RequestAnswer, venue: Venue | None, started_s: float
    ) -> None:
        now_s = self._context.now_s()

        def change(connection: Connection) -> bool:
            stored = requests.store_answer(connection, self._context.me, request, given, now_s=now_s)
            if stored and request.batch_seq is None:
                self._context.tell_of_response(connection, stored_answers.complete(connection, request.seq, given))
            return stored

        stored = await self._durably(change)
        estimated = request.input_tokens + request.output_tokens  # in the unit of what still waits
        self._drains[request.model].add(time.monotonic(), estimated)
        self._serve_tenant(request.tenant, given.input_tokens + given.output_tokens)
        self._enter(request, given, venue, started_s, stored=bool(stored))
        self.deliver(request.seq, given)

    def _serve_tenant(self, tenant: str, tokens: int) -> None:
        """Count what a tenant was served; what was long ago counts less and less."""
        if self._served_tokens.get(tenant, 0.0) > _SERVED_TOKENS_HELD:
            self._served_tokens = {each: served / 2 for each, served in self._served_tokens.items()}
        self._served_tokens[tenant] = self._served_tokens.get(tenant, 0.0) + tokens

    async def _durably(self, change: Callable[[Connection], T]) -> T:
        """Make a change, however long the database is gone."""
        while True:
            try:
                return await asyncio.shield(self._context.database.write(change))
            except StoreUnavailableError:
                await asyncio.sleep(_STORE_AGAIN_S)

    def _enter(
        self, request: ClaimedRequest, given: RequestAnswer, venue: Venue | None, started_s: float, *, stored: bool
    ) -> None:
        """Write the row of the ledger."""
        used = Usage(
            input_tokens=given.input_tokens, cached_tokens=given.cached_tokens, output_tokens=given.output_tokens
        )
        cost = venue.cost_picousd(used) if venue is not None else 0
        self._context.authenticator.spend(request.key_id, cost)
        lost_tokens = self._lost.pop(request.seq, 0) + (0 if stored else given.output_tokens)
        self._context.ledger_writer.add(
            Entry(
                request_id=given.request_id,
                arrived_s=request.arrived_s,
                started_s=started_s,
                ended_s=self._context.now_s(),
                ttft_s=None,
                lane=LANE,
                tenant=request.tenant,
                key_id=request.key_id,
                model=request.model,
                endpoint=request.endpoint,
                venue=venue.name if venue else given.venue,
                workload=request.workload,
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
