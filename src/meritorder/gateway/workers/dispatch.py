"""Dispatches queued requests: claims what the venues have capacity for, and runs it."""

import asyncio
import contextlib
import math
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from meritorder.gateway.config import DEFERRABLE, duration_s
from meritorder.gateway.state.clock import wait_until_set
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.reservations import UNLIMITED, Reservation
from meritorder.gateway.store.queue import backlog, requests
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.store.queue.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.venues.batch_ways import BatchWays
from meritorder.gateway.venues.headroom import Headroom
from meritorder.gateway.venues.plans.executor import PlanExecutor
from meritorder.gateway.venues.venues import RunningRequest, Venue, Venues
from meritorder.gateway.workers.attempt import (
    AttemptFailedError,
    Attempts,
    CompletionRate,
    gateway_failed,
)
from meritorder.gateway.workers.outcomes import Outcomes
from meritorder.gateway.workers.turns import Turns, Urgency
from meritorder.policy.escalation import EscalationLevel, escalation_level, latest_backfill_s
from meritorder.policy.schedule import safe_completion_tokens_per_s

_ROUND_S: Final = 0.5  # when nothing happens; any event starts a round at once
_PAUSE_SHARE: Final = 3.0  # pause after a round, per time that it read: most of the time is left for other work
_WORK_PER_ROUND: Final = 200
_MAX_EXTRA_WORK: Final = 1000


@dataclass(frozen=True, slots=True)
class _Share:
    """How many requests of some work are to start at a venue."""

    work: QueuedRequests
    venue: Venue
    count: int
    is_urgent: bool


class Dispatcher:
    """Moves requests from `queued` to `running`, and from there to `done`, `failed` or back to `queued`.

    Args:
        context: The shared state.
        venues: Where requests run.
        headroom: How many deferrable requests each venue may take now.
        plan_executor: Which venues the plan uses now.
    """

    def __init__(self, context: Context, venues: Venues, headroom: Headroom, plan_executor: PlanExecutor) -> None:
        self._context = context
        self.batch_ways = BatchWays(venues, context.settings.lanes)
        self._venues = venues
        self._headroom = headroom
        self._plan_executor = plan_executor
        self._attempts = Attempts(context, headroom.mark_unavailable, self.wake)
        self._outcomes = Outcomes(context, self._stored)
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: dict[int, tuple[ClaimedRequest, RunningRequest]] = {}
        self._tracked: dict[int, asyncio.Task[None]] = {}
        self._waiters: dict[int, asyncio.Future[RequestAnswer]] = {}
        self._rates: defaultdict[str, CompletionRate] = defaultdict(CompletionRate)
        self._turns = Turns()
        self._margin_s = duration_s(context.settings.lanes.margin)
        self._tpot_s = duration_s(context.settings.lanes.tpot)
        self._waiting_for_plan = 0
        self._ready_models: set[str] = set()  # with work that does not wait for the plan
        self._reading_s = 0.0
        self._stopping = self._capacity_is_short = False

    def wake(self) -> None:
        """Start a round now."""
        self._wake.set()

    def capacity_freed(self) -> None:
        """Start a round now if the last one left work queued for lack of capacity."""
        if self._capacity_is_short:
            self._wake.set()

    def latest_backfill_s(self, work: QueuedRequests, ahead: Sequence[QueuedRequests]) -> float:
        """Return until when work may wait for backfill, behind all work that is due before it."""
        rate = self._rates[work.model].tokens_per_s(time.monotonic())
        ahead_tokens = work.tokens + sum(earlier.tokens for earlier in ahead)
        return latest_backfill_s(work.deadline_s, ahead_tokens, rate, self._margin_s)

    def wait_for(self, seq: int) -> "asyncio.Future[RequestAnswer]":
        """Return the future answer of a call whose client keeps its connection open."""
        return self._waiters.setdefault(seq, asyncio.get_running_loop().create_future())

    def stop_waiting(self, seq: int) -> None:
        """Deliver the answer of a call to no client; it is stored all the same."""
        self._waiters.pop(seq, None)

    def abandon(self, seq: int) -> None:
        """Cancel and delete a call whose client has disconnected."""
        self._waiters.pop(seq, None)
        self.cancel({seq})
        self._spawn(self._outcomes.delete(seq))

    def cancel(self, seqs: set[int]) -> None:
        """Stop running requests whose answers are no longer wanted."""
        for seq in seqs & self._running.keys():
            self._running[seq][1].task.cancel()

    def cancel_batch(self, batch_seq: int) -> None:
        """Stop the running requests of a batch."""
        self.cancel({seq for seq, (claimed, _) in self._running.items() if claimed.batch_seq == batch_seq})

    def running(self) -> set[int]:
        """Return the requests that run now."""
        return set(self._running)

    def tracked(self) -> set[int]:
        """Return the requests that run now, or are being stored or requeued."""
        return set(self._tracked)

    def deliver(self, seq: int, answer: RequestAnswer) -> None:
        """Pass an answer to the client that waits for it, if there is one."""
        waiter = self._waiters.pop(seq, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)

    def _stored(self, request: ClaimedRequest, answer: RequestAnswer) -> None:
        """Count a request that was served, and pass its answer on."""
        estimated = request.input_tokens + request.output_tokens  # in the unit of the queued work
        self._rates[request.model].add(time.monotonic(), estimated)
        self._turns.add_served(request.tenant, answer.input_tokens + answer.output_tokens)
        self.deliver(request.seq, answer)

    async def run(self) -> None:
        """Dispatch in rounds until cancelled."""
        while True:
            await self._round()
            await asyncio.sleep(min(_ROUND_S, _PAUSE_SHARE * self._reading_s))
            await wait_until_set(self._wake, _ROUND_S)
            self._wake.clear()

    async def stop(self) -> None:
        """Requeue what runs, and start nothing more."""
        self._stopping = True
        for _, running in list(self._running.values()):
            running.preempted = True
            running.task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    async def _round(self) -> None:
        now_s = self._context.now_s()
        backfill = {
            venue.name: int(min(self._headroom.backfill(venue), self._plan_executor.max_backfill(venue)))
            for venue in self._venues.all
        }
        capacity = {venue.name: self._headroom.capacity(venue) for venue in self._venues.all}
        if not any(capacity.values()):
            self._capacity_is_short = True
            return
        # Work that waits for the plan must not hide work that is ready; the most urgent is listed in any case.
        limit = _WORK_PER_ROUND + min(self._waiting_for_plan, _MAX_EXTRA_WORK)
        blocked = self._context.quotas.blocked()
        full, began_s = self._full_models(capacity), time.monotonic()
        queued = await self._context.database.read(
            lambda connection: backlog.queued_work(
                connection, now_s=now_s, limit=limit, blocked_keys=blocked, full_models=full
            )
        )
        self._waiting_for_plan, self._reading_s = 0, time.monotonic() - began_s
        by_model: defaultdict[str, list[QueuedRequests]] = defaultdict(list)
        for work in queued:
            by_model[work.model].append(work)
        started: Counter[str] = Counter()
        self._ready_models.clear()

        async def dispatch(model: str) -> None:
            started[model] = await self._dispatch(model, by_model[model], backfill, capacity, now_s)

        await self._context.supervisor.run_each("dispatch", by_model, dispatch)
        working = self._ready_models | {request.model for request, _ in self._running.values()}
        for model, rate in self._rates.items():
            rate.observe(time.monotonic(), has_work=model in working)
        self._capacity_is_short = bool(full) or started.total() < sum(work.count for work in queued)

    def _full_models(self, capacity: dict[str, int]) -> list[str]:
        """Return the models whose venues all have no capacity, for example because they are down."""
        serving = {model: self._venues.serving(model, DEFERRABLE) for model in self._venues.models()}
        return [
            model for model, venues in serving.items() if venues and not any(capacity[venue.name] for venue in venues)
        ]

    async def _dispatch(
        self, model: str, works: list[QueuedRequests], backfill: dict[str, int], capacity: dict[str, int], now_s: float
    ) -> int:
        """Fill the capacity for one model with its work, the most urgent first; return how many requests started."""
        venues = self._venues.serving(model, DEFERRABLE)
        urgency = self._urgency(model, works, venues, now_s)
        # Work that waits for its slot takes no turn from work that is ready.
        ready = [
            work
            for work in works
            if self._plan_executor.deferrable_targets(work, venues, urgency[work].plan_wait_s, now_s)
        ]
        self._waiting_for_plan += len(works) - len(ready)
        if ready:
            self._ready_models.add(model)
        turns = self._turns.order(ready, urgency, sum(capacity[venue.name] for venue in venues), now_s)
        shares: list[_Share] = []
        for work, count in turns:
            level, remaining = urgency[work].level, count
            for target in self._plan_executor.deferrable_targets(work, venues, urgency[work].plan_wait_s, now_s):
                venue, is_urgent = target.venue, level is not EscalationLevel.BACKFILL
                is_fallback = not target.planned and self._is_fallback(venue, work, now_s)
                if is_fallback and level is not EscalationLevel.FALLBACK:
                    continue
                free = int(min((capacity if is_urgent else backfill)[venue.name], remaining, target.max_requests))
                if free <= 0:
                    continue
                shares.append(_Share(work, venue, free, is_urgent))
                self._plan_executor.record_dispatch(work, venue, free)
                backfill[venue.name] -= free
                capacity[venue.name] -= free
                remaining -= free
        # Together, so that they share one write to the disk.
        outcomes = await asyncio.gather(*map(self._start, shares), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return sum(outcome for outcome in outcomes if isinstance(outcome, int))

    async def _start(self, share: _Share) -> int:
        """Claim requests and start them; return how many. If there are fewer, other work gets their places at once."""
        claimed: list[tuple[ClaimedRequest, Reservation]] = []
        try:
            claimed = await self._claim(share.work, share.count)
        finally:
            self._plan_executor.record_dispatch(share.work, share.venue, len(claimed) - share.count)
        with contextlib.ExitStack() as unused:
            for _, reservation in claimed:
                unused.enter_context(reservation)
            for request, reservation in claimed:
                self._begin(request, share.venue, urgent=share.is_urgent, reservation=reservation)
            unused.pop_all()  # each ends with its task
        if len(claimed) < share.count:
            self._wake.set()
        return len(claimed)

    def _urgency(
        self, model: str, works: list[QueuedRequests], venues: Sequence[Venue], now_s: float
    ) -> dict[QueuedRequests, Urgency]:
        """Return how far each has escalated, given all work that is due before it."""
        rate = self._rates[model].tokens_per_s(time.monotonic())
        startup_s = self._plan_executor.startup_s(venues)
        urgency, ahead_tokens = {}, 0
        for work in sorted(works, key=lambda queued: queued.deadline_s):
            ahead_tokens += work.tokens
            latest_s = latest_backfill_s(work.deadline_s, ahead_tokens, rate, self._margin_s) - startup_s
            plan_wait_s = latest_s
            if math.isinf(rate) or self._plan_executor.next_slot_s(work, now_s) > latest_s:
                safe = safe_completion_tokens_per_s(rate, sum(venue.max_sequences for venue in venues), self._tpot_s)
                plan_wait_s = latest_backfill_s(work.deadline_s, ahead_tokens, safe, self._margin_s) - startup_s
            up = any(self._headroom.is_up(venue) for venue in venues if not self._is_fallback(venue, work, now_s))
            level = escalation_level(
                work.deadline_s, 0.0, latest_s, own_venue_up=up, margin_s=self._margin_s / 2, now_s=now_s
            )
            urgency[work] = Urgency(level, latest_s, plan_wait_s)
        return urgency

    def _is_fallback(self, venue: Venue, work: QueuedRequests, now_s: float) -> bool:
        """Tell whether a venue takes single requests of this work only if they would be late elsewhere."""
        return venue.table.fallback or self.batch_ways.fits(work, venue, now_s)

    async def _claim(self, work: QueuedRequests, limit: int) -> list[tuple[ClaimedRequest, Reservation]]:
        context, now_s = self._context, self._context.now_s()
        if self._stopping or work.key_id in context.quotas.blocked():
            return []
        return await context.quotas.claim(
            work.key_id,
            lambda connection: requests.claim(connection, context.instance_id, work, limit=limit, now_s=now_s),
        )

    def _begin(
        self, request: ClaimedRequest, venue: Venue, *, urgent: bool, reservation: Reservation = UNLIMITED
    ) -> None:
        """Start a task for a claimed request."""
        work = partial(self._serve, request, venue)
        telemetry = self._context.telemetry
        task = self._spawn(telemetry.run(work, request, venue.name, self._context.now_s()) if telemetry else work())
        running = RunningRequest(task, urgent=urgent)
        venue.deferrable.append(running)
        self._running[request.seq] = (request, running)
        self._tracked[request.seq] = task
        task.add_done_callback(lambda _: reservation.close())
        task.add_done_callback(lambda ended: self._ended(ended, request, venue, running))

    def _ended(
        self, task: "asyncio.Task[None]", request: ClaimedRequest, venue: Venue, running: RunningRequest
    ) -> None:
        """Requeue a request whose task was cancelled before its first step, or failed by a bug of ours."""
        if self._tracked.get(request.seq) is task:  # else it has been claimed again
            del self._tracked[request.seq]
        self._vacate(request, venue, running)
        has_failed = not task.cancelled() and task.exception() is not None
        if has_failed or task.cancelled():
            answer = gateway_failed(self._context.new_id("req_"))
            failure = AttemptFailedError(None if has_failed else 0.0, answer, fault=has_failed)
            self._spawn(self._outcomes.fail(request, failure))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._context.supervisor.record("requests", error)

    async def _serve(self, request: ClaimedRequest, venue: Venue) -> None:
        """Run a claimed request; it always leaves `running`."""
        running = self._running[request.seq][1]
        started_s = self._context.now_s()
        try:
            with self._occupied(request, venue, running):
                answer = await self._attempts.send(request, venue, running)
        except AttemptFailedError as failure:
            await self._outcomes.fail(request, failure, venue, started_s, lost_tokens=running.tokens)
        except asyncio.CancelledError:
            await self._outcomes.preempt(request, venue, started_s, lost_tokens=running.tokens)
        else:
            await self._outcomes.store(request, answer, venue, started_s)

    @contextlib.contextmanager
    def _occupied(self, request: ClaimedRequest, venue: Venue, running: RunningRequest) -> Iterator[None]:
        """Release a request's place at its venue at the end, however that comes."""
        try:
            yield
        finally:
            self._vacate(request, venue, running)

    def _vacate(self, request: ClaimedRequest, venue: Venue, running: RunningRequest) -> None:
        if running in venue.deferrable:
            venue.deferrable.remove(running)
            self._running.pop(request.seq, None)
            self._wake.set()
