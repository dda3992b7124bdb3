"""A venue with its limits kept, its failures retried, and left alone while it is down."""

import asyncio
import datetime as dt
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from meritorder.gateway.errors import (
    BrokenAnswerError,
    UnavailableError,
    UnsupportedError,
    UpstreamError,
    UpstreamTimeoutError,
)
from meritorder.gateway.upstreams import retry
from meritorder.gateway.upstreams.breaker import Breaker
from meritorder.gateway.upstreams.limits import RateLimits, RateMeter
from meritorder.gateway.upstreams.retry import RetryRule
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply, Upstream, Wrapped

# Silence of this length is the venue's fault; a shorter time-out may be the client's impatience.
_HANG_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """How a venue is protected, and we from it.

    Args:
        limits: What it may be given.
        retry: How patiently it is asked again.
        breaker_failures: Failures in a row after which it is left alone.
        breaker_cooldown_s: For how long, at first.
        patience_s: Longest time that a request waits here for a place or for the rates to allow it; then it is
            `UnavailableError`, and its owner may go elsewhere.
    """

    limits: RateLimits = field(default_factory=RateLimits)
    retry: RetryRule = field(default_factory=RetryRule)
    breaker_failures: int = 5
    breaker_cooldown_s: float = 5.0
    patience_s: float = 2.0


class _Held(Wrapped):
    """A reply that holds its place at the venue until it is closed, and tells the breaker how it ended."""

    __slots__ = ("_guarded", "_judged")

    def __init__(self, reply: Reply, guarded: "Guarded") -> None:
        super().__init__(reply)
        self._guarded: Guarded | None = guarded
        self._judged = reply.status >= 400

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._watched()

    async def _watched(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._reply.body:
                yield chunk
        except UpstreamError:
            self._broke()
            raise

    async def read(self) -> bytes:
        try:
            return await self._reply.read()
        except UpstreamError:
            self._broke()
            raise

    def _broke(self) -> None:
        if self._guarded is not None and not self._judged:
            self._judged = True
            self._guarded.breaker.fail(self._guarded.clock())

    async def close(self) -> None:
        guarded, self._guarded = self._guarded, None
        if guarded is not None:
            if not self._judged:
                guarded.breaker.succeed()
            guarded.leave()
        await self._reply.close()


class Guarded:
    """An upstream behind a `Guard`. See `upstream.Upstream`.

    Args:
        upstream: The venue itself.
        guard: The rules.
        clock: Monotonic seconds.
        draw: Random shares from 0 to 1, for the spread of retries.
        now: The date, for `Retry-After` in the form of one.
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
        self.breaker = Breaker(failures=guard.breaker_failures, cooldown_s=guard.breaker_cooldown_s)
        self.meter = RateMeter(guard.limits)
        self.clock = clock
        self._upstream = upstream
        self._guard = guard
        self._draw = draw
        self._now = now
        self._queue: deque[asyncio.Future[None]] = deque()

    async def send(self, call: Call) -> Reply:
        """Send a request when limits allow, again where a failure may pass, and return the last answer.

        An error that may pass is returned as it came when there are no attempts or no time left, its `Retry-After`
        with it.
        """
        ends_s = None if call.timeout_s is None else self.clock() + call.timeout_s
        attempt = 1
        while True:
            await self._enter(call)
            outcome = await self._attempt(call)
            if isinstance(outcome, UpstreamError):
                wait_s = self._after_failure(outcome, attempt, call)
            elif outcome.status >= 400:
                wait_s = self._after_refusal(outcome, attempt)
            else:
                if self.breaker.is_open:
                    self.breaker.succeed()  # the trial: others need not wait for its last token
                return _Held(outcome, self)
            left_s = None if ends_s is None or wait_s is None else ends_s - self.clock() - wait_s
            final = wait_s is None or (left_s is not None and left_s <= 0)
            if final and not isinstance(outcome, UpstreamError):
                return _Held(outcome, self)
            self.leave()
            if final or wait_s is None:
                assert isinstance(outcome, UpstreamError)  # noqa: S101 - a reply was returned above
                raise outcome
            if not isinstance(outcome, UpstreamError):
                await outcome.close()
            await asyncio.sleep(wait_s)
            attempt += 1
            if left_s is not None:
                call = msgspec.structs.replace(call, timeout_s=left_s)

    async def _attempt(self, call: Call) -> Reply | UpstreamError:
        try:
            return await self._upstream.send(call)
        except UpstreamError as error:
            return error
        except BaseException:
            self.breaker.leave()
            self.leave()
            raise

    def _after_failure(self, error: UpstreamError, attempt: int, call: Call) -> float | None:
        """Count a failure without an answer, and return how long to wait before another attempt, if there is one."""
        if isinstance(error, UnsupportedError):
            self.breaker.leave()
            return None
        if isinstance(error, UpstreamTimeoutError):
            if call.timeout_s is None or call.timeout_s >= _HANG_S:
                self.breaker.fail(self.clock())
            else:
                self.breaker.leave()
            return None
        if isinstance(error, UnavailableError) and error.retry_after_s is not None:
            self.breaker.leave()  # such as an engine that is starting: it says when to come back
            return self._guard.retry.wait_s(attempt, error.retry_after_s, self._draw())
        self.breaker.fail(self.clock())
        if self.breaker.is_open:
            return None
        if isinstance(error, BrokenAnswerError) and attempt == 1:
            # Most often a kept connection that the server had closed meanwhile.
            return 0.0 if self._guard.retry.attempts > 1 else None
        return self._guard.retry.wait_s(attempt, None, self._draw())

    def _after_refusal(self, reply: Reply, attempt: int) -> float | None:
        """Count an answer with an error status, and return how long to wait before another attempt, if there is one."""
        status, now_s = reply.status, self.clock()
        asked_s = retry.retry_after_s(reply.headers, self._now())
        if retry.is_fault(status):
            self.breaker.fail(now_s)
        else:
            self.breaker.succeed()
        if not retry.passes(status):
            return None
        if asked_s is not None:
            self.breaker.pause(now_s + asked_s)
        if self.breaker.is_open:
            return None
        return self._guard.retry.wait_s(attempt, asked_s, self._draw())

    async def _enter(self, call: Call) -> None:
        """Take a place at the venue, waiting shortly if need be."""
        now_s = self.clock()
        wait_s = self.breaker.wait_s(now_s)
        if wait_s > 0 and (self.breaker.is_open or wait_s > self._guard.patience_s):
            what = f"left alone after {self.breaker.failed} failures" if self.breaker.is_open else "asked for a pause"
            raise UnavailableError(what, venue=self.name, retry_after_s=wait_s)
        wait_s = max(wait_s, self.meter.wait_s(call.tokens, now_s))
        if wait_s > self._guard.patience_s:
            raise UnavailableError("its rate limit is used up", venue=self.name, retry_after_s=wait_s)
        if self.meter.full:
            await self._queued()
        else:
            self.meter.enter()
        self.breaker.begin()
        # Taken before the wait: who comes next waits longer.
        self.meter.take(call.tokens, now_s)
        if wait_s > 0:
            try:
                await asyncio.sleep(wait_s)
            except BaseException:
                self.breaker.leave()
                self.leave()
                raise

    async def _queued(self) -> None:
        """Wait for a place, in order of arrival; whoever leaves hands it over."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            async with asyncio.timeout(self._guard.patience_s):
                await place
        except TimeoutError:
            if place.done() and not place.cancelled():
                return  # handed over in the last moment
            what = f"all {self.meter.in_flight} places are taken"
            raise UnavailableError(what, venue=self.name, retry_after_s=self._guard.patience_s) from None
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give a place back, or hand it to the one who waits longest."""
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.meter.leave()

    async def load(self) -> EngineLoad | None:
        """Return what the engine says of its load; None if it cannot be read."""
        return await self._upstream.load()

    async def close(self) -> None:
        """Close what is open towards the venue."""
        await self._upstream.close()
