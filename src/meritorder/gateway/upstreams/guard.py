"""A guarded upstream: respects the venue's limits, retries transient failures, and pauses while the venue is down."""

import asyncio
import datetime as dt
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Self

import msgspec

from meritorder.gateway import decoding
from meritorder.gateway.errors import (
    BrokenAnswerError,
    UnavailableError,
    UnsupportedError,
    UpstreamError,
    UpstreamTimeoutError,
    checked_contract,
    without_frames,
)
from meritorder.gateway.upstreams import retry
from meritorder.gateway.upstreams.contract import StreamCheck, check_answer
from meritorder.gateway.upstreams.rates import RateLimits, RateMeter
from meritorder.gateway.upstreams.retry import Breaker, Breakers, RetryRule
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply, Upstream, Wrapped

# A time-out this long is the venue's fault; a shorter one may come from an impatient client.
_HANG_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Limits and retry rules of a venue.

    Args:
        limits: Its rate limits.
        retry: How often and when a request is retried.
        breaker_failures: Consecutive failures that open the circuit breaker.
        breaker_cooldown_s: Time from opening to the first trial.
        patience_s: Longest time that a request waits here for the limits; then it fails with `UnavailableError` and may
            go to another venue.
    """

    limits: RateLimits = field(default_factory=RateLimits)
    retry: RetryRule = field(default_factory=RetryRule)
    breaker_failures: int = 5
    breaker_cooldown_s: float = 5.0
    patience_s: float = 2.0


class _Place:
    """A request's place at a venue: released at the end of a `with` block, or by the stream that keeps it.

    Args:
        guarded: The venue.
        breakers: The circuit breakers of which it may be the trial.
    """

    __slots__ = ("_guarded", "breakers", "is_kept")

    def __init__(self, guarded: "Guarded", breakers: Breakers) -> None:
        self.is_kept = False
        self.breakers = breakers
        self._guarded: Guarded | None = guarded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.is_kept:
            self.release()

    def release(self) -> None:
        """Give the place up; a second time does nothing."""
        guarded, self._guarded = self._guarded, None
        if guarded is not None:
            guarded.leave(self)


class _GuardedStream(Wrapped):
    """A stream that is checked as it arrives; it keeps its place, and reports its outcome, until it is closed."""

    __slots__ = ("_check", "_first", "_guarded", "_parts", "_place")

    def __init__(self, reply: Reply, guarded: "Guarded", place: _Place) -> None:
        super().__init__(reply)
        self._guarded: Guarded | None = guarded
        self._place = place
        self._check = StreamCheck(guarded.name)
        self._parts = reply.body
        self._first = b""

    async def begin(self) -> None:
        """Wait for the first event: until then the request can be retried."""
        self._first = await anext(self._parts, b"")
        self._check.feed(self._first)
        if not self._first:
            self._check.end()
        self._place.is_kept = True

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._from_first()

    async def _from_first(self) -> AsyncIterator[bytes]:
        yield self._first
        try:
            with checked_contract(self._guarded.name if self._guarded else ""):
                async for part in self._parts:
                    self._check.feed(part)
                    yield part
            self._check.end()
        except UpstreamError as error:
            guarded, self._guarded = self._guarded, None
            if guarded is not None:
                self._place.breakers.answers.fail(guarded.clock())
            raise without_frames(error) from None

    async def close(self) -> None:
        guarded, self._guarded = self._guarded, None
        if guarded is not None:
            self._place.breakers.succeed(guarded.clock())
        self._place.release()
        await self._reply.close()


class Guarded:
    """An upstream behind a `Guard`. See `upstream.Upstream`.

    Args:
        upstream: The upstream to guard.
        guard: Limits and retry rules.
        clock: Monotonic seconds.
        draw: Returns a random number in [0, 1), to spread retries.
        now: The date, for a `Retry-After` header that is a date.
    """

    def __init__(
        self,
        upstream: Upstream,
        guard: Guard,
        *,
        clock: Callable[[], float],
        draw: Callable[[], float],
        now: Callable[[], dt.datetime],
    ) -> None:
        self.name = upstream.name
        rule = partial(Breaker, failures=guard.breaker_failures, cooldown_s=guard.breaker_cooldown_s)
        connections = rule()
        self.breakers: defaultdict[str, Breakers] = defaultdict(lambda: Breakers(connections, rule()))
        """By tenant."""
        self.meter = RateMeter(guard.limits)
        self.clock = clock
        self._upstream = upstream
        self._guard = guard
        self._draw = draw
        self._now = now
        self._queue: deque[asyncio.Future[None]] = deque()

    async def send(self, call: Call) -> Reply:
        """Send a request when the limits allow, retry transient failures, and return the last answer.

        When no attempts or no time are left, a transient error is returned as it arrived, with its `Retry-After`. A
        deferrable request has one attempt: it waits in the queue for the next, where it holds no place.
        """
        ends_s = None if call.timeout_s is None else self.clock() + call.timeout_s
        attempt = 1
        while True:
            with await self._enter(call) as place:
                outcome = await self._attempt(call, place)
                wait_s = self._after(outcome, attempt, call, place.breakers)
                wait_s = None if call.deferrable else wait_s
                left_s = None if ends_s is None or wait_s is None else ends_s - self.clock() - wait_s
                if wait_s is None or (left_s is not None and left_s <= 0):
                    if not isinstance(outcome, UpstreamError):
                        return outcome
                    try:
                        raise outcome
                    finally:
                        del outcome  # else it holds the frames that hold it
                if not isinstance(outcome, UpstreamError):
                    await outcome.close()
            await asyncio.sleep(wait_s)
            attempt += 1
            if left_s is not None:
                call = msgspec.structs.replace(call, timeout_s=left_s)

    async def _attempt(self, call: Call, place: _Place) -> Reply | UpstreamError:
        """Send a request once; return a whole answer, or a stream that has begun, if they keep the API contract."""
        try:
            with checked_contract(self.name):
                reply = await self._upstream.send(call)
                try:
                    return await self._checked(reply, call, place) if reply.status == 200 else reply
                except BaseException:
                    await reply.close()
                    raise
        except UpstreamError as error:
            return without_frames(error)

    async def _checked(self, reply: Reply, call: Call, place: _Place) -> Reply:
        if not call.stream:
            await decoding.run(check_answer, call.path, await reply.read(), self.name)
            return reply
        stream = _GuardedStream(reply, self, place)
        await stream.begin()
        return stream

    def _after(self, outcome: Reply | UpstreamError, attempt: int, call: Call, breakers: Breakers) -> float | None:
        """Record the outcome of an attempt; return the wait before another, None if there is none."""
        if isinstance(outcome, UpstreamError):
            return self._after_failure(outcome, attempt, call, breakers)
        if outcome.status >= 400:
            return self._after_error_status(outcome, attempt, breakers)
        if not isinstance(outcome, _GuardedStream) or breakers.is_on_trial:
            breakers.succeed(self.clock())  # if it was the trial, others need not wait for its last token
        return None

    def _after_failure(self, error: UpstreamError, attempt: int, call: Call, breakers: Breakers) -> float | None:
        if isinstance(error, UnsupportedError):
            return None
        if isinstance(error, UpstreamTimeoutError):
            if call.timeout_s is None or call.timeout_s >= _HANG_S:
                breakers.answers.fail(self.clock())
            return None
        if isinstance(error, UnavailableError) and error.retry_after_s is not None:
            # For example an engine that is starting: it names the time to retry.
            return self._guard.retry.wait_s(attempt, error.retry_after_s, self._draw())
        (breakers.connections if isinstance(error, UnavailableError) else breakers.answers).fail(self.clock())
        if breakers.is_open:
            return None
        if isinstance(error, BrokenAnswerError) and attempt == 1:
            # Most often a pooled connection that the server has closed.
            return 0.0 if self._guard.retry.attempts > 1 else None
        return self._guard.retry.wait_s(attempt, None, self._draw())

    def _after_error_status(self, reply: Reply, attempt: int, breakers: Breakers) -> float | None:
        status, now_s = reply.status, self.clock()
        retry_after_s = retry.retry_after_s(reply.headers, self._now())
        if retry.is_fault(status):
            breakers.connections.succeed(now_s)
            breakers.answers.fail(now_s, status)
        else:
            breakers.succeed(now_s)
        if not retry.is_transient(status):
            return None
        if retry_after_s is not None:
            breakers.connections.pause(now_s, retry_after_s)
        if breakers.is_on_trial:
            return None
        return self._guard.retry.wait_s(attempt, retry_after_s, self._draw())

    async def _enter(self, call: Call) -> _Place:
        """Wait until the limits allow a request, and return its place."""
        now_s = self.clock()
        breakers = self.breakers[call.tenant]
        wait_s = breakers.wait_s(now_s)
        if wait_s > 0 and (breakers.is_on_trial or wait_s > self._guard.patience_s):
            what = f"paused after {breakers.failed} failures" if breakers.is_open else "asked for a pause"
            raise UnavailableError(what, venue=self.name, retry_after_s=wait_s)
        wait_s = max(wait_s, self.meter.wait_s(call.tokens, now_s))
        if wait_s > self._guard.patience_s:
            raise UnavailableError("its rate limit is used up", venue=self.name, retry_after_s=wait_s)
        if self.meter.full:
            await self._wait_in_queue()
        else:
            self.meter.enter()
        place = _Place(self, breakers)
        breakers.begin(place)
        # Charged before the wait, so that the next request waits longer.
        self.meter.take(call.tokens, now_s)
        if wait_s > 0:
            try:
                await asyncio.sleep(wait_s)
            except BaseException:
                place.release()
                raise
        return place

    async def _wait_in_queue(self) -> None:
        """Wait, in order of arrival, until a request that leaves passes its slot on."""
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(slot)
        try:
            async with asyncio.timeout(self._guard.patience_s):
                await slot
        except TimeoutError:
            if slot.done() and not slot.cancelled():
                return  # passed on at the last moment
            what = f"all {self.meter.in_flight} requests allowed at one time are in flight"
            raise UnavailableError(what, venue=self.name, retry_after_s=self._guard.patience_s) from None
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():
                self._free_slot()
            raise

    def leave(self, place: _Place) -> None:
        """Release a place: what it tried is over, and its slot is free."""
        place.breakers.leave(place)
        self._free_slot()

    def _free_slot(self) -> None:
        """Count a request out, or pass its slot to the request that has waited longest."""
        while self._queue:
            slot = self._queue.popleft()
            if not slot.done():
                slot.set_result(None)
                return
        self.meter.leave()

    async def load(self) -> EngineLoad | None:
        """Return the load that the engine reports; None if it cannot be read."""
        return await self._upstream.load()

    async def close(self) -> None:
        """Close the connections to the venue."""
        await self._upstream.close()
