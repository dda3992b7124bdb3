"""A guarded upstream: respects the venue's limits, retries transient failures, and pauses while the venue is down."""

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
from meritorder.gateway.upstreams.retry import Breaker, RetryRule
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply, Upstream, Wrapped
from meritorder.units import SECONDS_PER_MINUTE

# A time-out this long is the venue's fault; a shorter one may come from an impatient client.
_HANG_S: Final = 30.0


@dataclass(slots=True, kw_only=True)
class Bucket:
    """A token bucket with the capacity of one minute, full at first.

    An amount larger than the bucket may pass when it is full, and leaves a debt.

    Args:
        per_minute: Rate at which it refills.
    """

    per_minute: float
    _level: float = field(init=False)
    _at_s: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._level = self.per_minute

    def wait_s(self, amount: float, now_s: float) -> float:
        """Return how long until an amount may be taken; 0 if it may be taken now."""
        self._fill(now_s)
        missing = min(amount, self.per_minute) - self._level
        return max(0.0, missing * SECONDS_PER_MINUTE / self.per_minute)

    def take(self, amount: float, now_s: float) -> None:
        """Take an amount; a negative one returns what was not used."""
        self._fill(now_s)
        self._level = min(self._level - amount, self.per_minute)

    def _fill(self, now_s: float) -> None:
        # A clock that was set back refills nothing.
        if now_s > self._at_s:
            inflow = (now_s - self._at_s) * self.per_minute / SECONDS_PER_MINUTE
            self._level = min(self._level + inflow, self.per_minute)
        self._at_s = now_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Limits of a venue; None is unlimited.

    Args:
        concurrency: Requests at one time.
        requests_per_minute: Requests started.
        tokens_per_minute: Estimated tokens of the requests started.
    """

    concurrency: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


class RateMeter:
    """Current use of a venue's limits."""

    __slots__ = ("_concurrency", "_requests", "_tokens", "in_flight")

    def __init__(self, limits: RateLimits) -> None:
        self._concurrency = limits.concurrency
        self._requests = Bucket(per_minute=limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens = Bucket(per_minute=limits.tokens_per_minute) if limits.tokens_per_minute else None
        self.in_flight = 0

    @property
    def full(self) -> bool:
        """Whether the concurrency limit is reached."""
        return self._concurrency is not None and self.in_flight >= self._concurrency

    def wait_s(self, tokens: int, now_s: float) -> float:
        """Return how long the rate limits delay a request; 0 if not at all."""
        wait_s = 0.0
        if self._requests is not None:
            wait_s = self._requests.wait_s(1, now_s)
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.wait_s(tokens, now_s))
        return wait_s

    def enter(self) -> None:
        """Count a request in."""
        self.in_flight += 1

    def take(self, tokens: int, now_s: float) -> None:
        """Charge a request to the rate limits."""
        if self._requests is not None:
            self._requests.take(1, now_s)
        if self._tokens is not None:
            self._tokens.take(tokens, now_s)

    def leave(self) -> None:
        """Count a request out."""
        self.in_flight -= 1


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


class _GuardedReply(Wrapped):
    """A reply that counts as in flight until it is closed, and then reports its outcome to the breaker."""

    __slots__ = ("_guarded", "_reported")

    def __init__(self, reply: Reply, guarded: "Guarded") -> None:
        super().__init__(reply)
        self._guarded: Guarded | None = guarded
        self._reported = reply.status >= 400

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._reply.body:
                yield part
        except UpstreamError:
            self._fail()
            raise

    async def read(self) -> bytes:
        try:
            return await self._reply.read()
        except UpstreamError:
            self._fail()
            raise

    def _fail(self) -> None:
        if self._guarded is not None and not self._reported:
            self._reported = True
            self._guarded.breaker.fail(self._guarded.clock())

    async def close(self) -> None:
        guarded, self._guarded = self._guarded, None
        if guarded is not None:
            if not self._reported:
                guarded.breaker.succeed()
            guarded.leave()
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
        self.breaker = Breaker(failures=guard.breaker_failures, cooldown_s=guard.breaker_cooldown_s)
        self.meter = RateMeter(guard.limits)
        self.clock = clock
        self._upstream = upstream
        self._guard = guard
        self._draw = draw
        self._now = now
        self._queue: deque[asyncio.Future[None]] = deque()

    async def send(self, call: Call) -> Reply:
        """Send a request when the limits allow, retry transient failures, and return the last answer.

        When no attempts or no time are left, a transient error is returned as it arrived, with its `Retry-After`.
        """
        ends_s = None if call.timeout_s is None else self.clock() + call.timeout_s
        attempt = 1
        while True:
            await self._enter(call)
            outcome = await self._attempt(call)
            if isinstance(outcome, UpstreamError):
                wait_s = self._after_failure(outcome, attempt, call)
            elif outcome.status >= 400:
                wait_s = self._after_error_status(outcome, attempt)
            else:
                if self.breaker.is_open:
                    self.breaker.succeed()  # the trial succeeded; others need not wait for its last token
                return _GuardedReply(outcome, self)
            left_s = None if ends_s is None or wait_s is None else ends_s - self.clock() - wait_s
            final = wait_s is None or (left_s is not None and left_s <= 0)
            if final and not isinstance(outcome, UpstreamError):
                return _GuardedReply(outcome, self)
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
        """Record a failure without an answer; return the wait before another attempt, None if there is none."""
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
            self.breaker.leave()  # for example an engine that is starting: it names the time to retry
            return self._guard.retry.wait_s(attempt, error.retry_after_s, self._draw())
        self.breaker.fail(self.clock())
        if self.breaker.is_open:
            return None
        if isinstance(error, BrokenAnswerError) and attempt == 1:
            # Most often a pooled connection that the server has closed.
            return 0.0 if self._guard.retry.attempts > 1 else None
        return self._guard.retry.wait_s(attempt, None, self._draw())

    def _after_error_status(self, reply: Reply, attempt: int) -> float | None:
        """Record an error status; return the wait before another attempt, None if there is none."""
        status, now_s = reply.status, self.clock()
        retry_after_s = retry.retry_after_s(reply.headers, self._now())
        if retry.is_fault(status):
            self.breaker.fail(now_s)
        else:
            self.breaker.succeed()
        if not retry.is_transient(status):
            return None
        if retry_after_s is not None:
            self.breaker.pause(now_s + retry_after_s)
        if self.breaker.is_open:
            return None
        return self._guard.retry.wait_s(attempt, retry_after_s, self._draw())

    async def _enter(self, call: Call) -> None:
        """Wait until the limits allow a request, and count it in."""
        now_s = self.clock()
        wait_s = self.breaker.wait_s(now_s)
        if wait_s > 0 and (self.breaker.is_open or wait_s > self._guard.patience_s):
            what = f"paused after {self.breaker.failed} failures" if self.breaker.is_open else "asked for a pause"
            raise UnavailableError(what, venue=self.name, retry_after_s=wait_s)
        wait_s = max(wait_s, self.meter.wait_s(call.tokens, now_s))
        if wait_s > self._guard.patience_s:
            raise UnavailableError("its rate limit is used up", venue=self.name, retry_after_s=wait_s)
        if self.meter.full:
            await self._wait_in_queue()
        else:
            self.meter.enter()
        self.breaker.begin()
        # Charged before the wait, so that the next request waits longer.
        self.meter.take(call.tokens, now_s)
        if wait_s > 0:
            try:
                await asyncio.sleep(wait_s)
            except BaseException:
                self.breaker.leave()
                self.leave()
                raise

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
                self.leave()
            raise

    def leave(self) -> None:
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
