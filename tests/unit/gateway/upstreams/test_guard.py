"""Limits, retries and the breaker, each alone and together before a venue that fails."""

import asyncio
import contextlib
import datetime as dt
import gc
import random
import time
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import msgspec
import pytest

from meritorder.gateway.errors import (
    BrokenAnswerError,
    UnavailableError,
    UnsupportedError,
    UpstreamError,
    UpstreamTimeoutError,
)
from meritorder.gateway.upstreams.guard import Guard, Guarded
from meritorder.gateway.upstreams.rates import RateLimits
from meritorder.gateway.upstreams.retry import RetryRule
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply

NOW = dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC)
A_CALL = Call(path="/v1/any", body=b"{}", stream=False, model="m")
A_STREAM = Call(path="/v1/any", body=b"{}", stream=True, model="m")
EVENT = b"data: {}\n\n"
DONE = b"data: [DONE]\n\n"
AT_ONCE = RetryRule(attempts=3, first_wait_s=0.001)


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b"{}"
    parts: tuple[bytes, ...] = (EVENT, DONE)
    breaks: bool = False
    closed: bool = False

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._body()

    async def _body(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part
        if self.breaks:
            raise BrokenAnswerError("the answer broke off", venue="v")

    async def read(self) -> bytes:
        return self.content

    async def close(self) -> None:
        self.closed = True


@dataclass
class Scripted:
    """A venue that does what the script says, one entry a request; the last over and over."""

    script: list[Answer | Exception]
    name: str = "v"
    calls: list[Call] = field(default_factory=list)
    hold: asyncio.Event | None = None

    async def send(self, call: Call) -> Answer:
        self.calls.append(call)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(step, Exception):
            raise step
        return step

    async def load(self) -> EngineLoad | None:
        return None

    async def close(self) -> None:
        pass


def guarded(
    *script: Answer | Exception, clock: Callable[[], float] = time.monotonic, **rules: object
) -> tuple[Guarded, Scripted]:
    venue = Scripted(list(script))
    guard = Guard(**{"retry": AT_ONCE} | rules)
    return Guarded(venue, guard, clock=clock, draw=random.Random(1).random, now=lambda: NOW), venue


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "failure",
    [
        Answer(status=429),
        Answer(status=500),
        Answer(status=503, headers={"Retry-After": "0"}),
        Answer(status=529),
        BrokenAnswerError("b", venue="v"),
        UnavailableError("u", venue="v"),
    ],
)
async def test_transient_failures_are_retried(failure: Answer | Exception) -> None:
    venue, script = guarded(failure, failure, Answer())
    reply = await venue.send(A_CALL)
    assert reply.status == 200
    assert len(script.calls) == 3
    assert isinstance(failure, Exception) or failure.closed
    await reply.close()
    assert venue.meter.in_flight == 0


@pytest.mark.asyncio
async def test_deferrable_requests_wait_in_their_queue() -> None:
    """Waiting here, one that fails again and again would hold the place of others."""
    venue, script = guarded(Answer(status=500), Answer())
    reply = await venue.send(msgspec.structs.replace(A_CALL, deferrable=True))
    assert (reply.status, len(script.calls)) == (500, 1)
    await reply.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501])
async def test_permanent_errors_are_not_retried(status: int) -> None:
    venue, script = guarded(Answer(status=status), Answer())
    reply = await venue.send(A_CALL)
    assert reply.status == status
    assert len(script.calls) == 1
    await reply.close()


@pytest.mark.asyncio
async def test_last_error_answer_is_returned() -> None:
    refusal = Answer(status=503, headers={"X-Reason": "full"})
    venue, script = guarded(refusal)
    reply = await venue.send(A_CALL)
    assert (reply.status, reply.headers["X-Reason"], len(script.calls)) == (503, "full", 3)
    await reply.close()


@pytest.mark.asyncio
async def test_last_failure_is_raised() -> None:
    venue, script = guarded(BrokenAnswerError("the connection broke", venue="v"))
    with pytest.raises(BrokenAnswerError):
        await venue.send(A_CALL)
    assert len(script.calls) == 3
    assert venue.meter.in_flight == 0


@pytest.mark.asyncio
async def test_no_retry_before_retry_after() -> None:
    venue, script = guarded(Answer(status=429, headers={"Retry-After": "0.2"}), Answer())
    began_s = time.monotonic()
    reply = await venue.send(A_CALL)
    assert time.monotonic() - began_s >= 0.2
    assert len(script.calls) == 2
    await reply.close()


@pytest.mark.asyncio
async def test_long_retry_after_is_passed_on() -> None:
    venue, script = guarded(Answer(status=429, headers={"Retry-After": "60"}), Answer())
    reply = await venue.send(A_CALL)
    assert (reply.status, reply.headers["Retry-After"]) == (429, "60")
    await reply.close()
    with pytest.raises(UnavailableError) as caught:
        await venue.send(A_CALL)  # the storm is not fed
    assert caught.value.retry_after_s == pytest.approx(60, abs=1)
    assert len(script.calls) == 1


@pytest.mark.asyncio
async def test_no_attempt_past_call_timeout() -> None:
    venue, script = guarded(Answer(status=503, headers={"Retry-After": "1"}))
    began_s = time.monotonic()
    reply = await venue.send(Call(path="/", body=b"", stream=False, model="m", timeout_s=0.5))
    assert reply.status == 503
    assert time.monotonic() - began_s < 0.5
    assert len(script.calls) == 1
    await reply.close()


@pytest.mark.asyncio
async def test_call_timeout_covers_all_attempts() -> None:
    venue, script = guarded(Answer(status=503), Answer())
    reply = await venue.send(Call(path="/", body=b"", stream=False, model="m", timeout_s=5.0))
    await reply.close()
    first, second = (call.timeout_s for call in script.calls)
    assert first == 5.0
    assert second is not None
    assert second < 5.0


@pytest.mark.asyncio
async def test_timeout_and_unsupported_not_retried() -> None:
    for error in (UpstreamTimeoutError("t", venue="v"), UnsupportedError("n", venue="v", param="logprobs")):
        venue, script = guarded(error)
        with pytest.raises(type(error)):
            await venue.send(A_CALL)
        assert len(script.calls) == 1
        assert venue.breakers[""].failed == (1 if isinstance(error, UpstreamTimeoutError) else 0)


@pytest.mark.asyncio
async def test_client_timeout_is_no_venue_fault() -> None:
    venue, _ = guarded(UpstreamTimeoutError("t", venue="v"))
    for _ in range(20):
        with pytest.raises(UpstreamTimeoutError):
            await venue.send(Call(path="/", body=b"", stream=False, model="m", timeout_s=0.1))
    assert venue.breakers[""].failed == 0


@pytest.mark.asyncio
async def test_named_retry_time_is_no_failure() -> None:
    venue, script = guarded(UnavailableError("is still starting", venue="v", retry_after_s=0.001), breaker_failures=2)
    for _ in range(3):
        with pytest.raises(UnavailableError, match="starting"):
            await venue.send(A_CALL)
    assert not venue.breakers[""].is_open
    script.script[:] = [Answer()]
    await (await venue.send(A_CALL)).close()


@pytest.mark.asyncio
async def test_breaker_opens_and_tries_once() -> None:
    at = [0.0]
    down = UnavailableError("nothing listens there", venue="v")
    venue, script = guarded(
        down, clock=lambda: at[0], breaker_failures=3, breaker_cooldown_s=10.0, retry=RetryRule(attempts=1)
    )
    for _ in range(3):
        with pytest.raises(UnavailableError, match="nothing listens"):
            await venue.send(A_CALL)
    with pytest.raises(UnavailableError, match="paused after") as caught:
        await venue.send(A_CALL)
    assert caught.value.retry_after_s == 10.0
    assert len(script.calls) == 3

    at[0] = 11.0
    script.script[:] = [Answer()]
    script.hold = asyncio.Event()
    trial = asyncio.create_task(venue.send(A_CALL))
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="paused after"):
        await venue.send(A_CALL)
    script.hold.set()
    reply = await trial
    await reply.close()
    assert not venue.breakers[""].is_open
    await (await venue.send(A_CALL)).close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("failure", "pauses_all"),
    [
        (BrokenAnswerError("b", venue="v"), False),
        (UpstreamTimeoutError("t", venue="v"), False),
        (Answer(status=500), False),
        (UnavailableError("nothing listens there", venue="v"), True),
    ],
)
async def test_broken_answers_pause_their_tenant_only(failure: Answer | UpstreamError, *, pauses_all: bool) -> None:
    """What could be sent may have been broken by the request: the venue is paused for its tenant."""
    venue, script = guarded(failure, breaker_failures=3, retry=RetryRule(attempts=1))
    for _ in range(3):
        with contextlib.suppress(UpstreamError):
            await (await venue.send(msgspec.structs.replace(A_CALL, tenant="hostile"))).close()
    with pytest.raises(UnavailableError, match="paused after 3 failures"):
        await venue.send(msgspec.structs.replace(A_CALL, tenant="hostile"))
    script.script[:] = [Answer()]
    if pauses_all:
        with pytest.raises(UnavailableError, match="paused after 3 failures"):
            await venue.send(msgspec.structs.replace(A_CALL, tenant="other"))
    else:
        await (await venue.send(msgspec.structs.replace(A_CALL, tenant="other"))).close()


@pytest.mark.asyncio
async def test_cancelled_trial_lets_another_try() -> None:
    at = [0.0]
    venue, script = guarded(
        BrokenAnswerError("b", venue="v"), clock=lambda: at[0], breaker_failures=1, retry=RetryRule(attempts=1)
    )
    with pytest.raises(BrokenAnswerError):
        await venue.send(A_CALL)
    at[0] = 100.0
    script.script[:] = [Answer()]
    script.hold = asyncio.Event()
    trial = asyncio.create_task(venue.send(A_CALL))
    await asyncio.sleep(0)
    trial.cancel()
    await asyncio.gather(trial, return_exceptions=True)
    script.hold = None
    await (await venue.send(A_CALL)).close()
    assert venue.meter.in_flight == 0


async def drained(reply: Reply) -> bytes:
    return b"".join([part async for part in reply.body])


@pytest.mark.asyncio
async def test_broken_streams_count_as_failures() -> None:
    venue, script = guarded(Answer(parts=(EVENT,), breaks=True), breaker_failures=2)
    for _ in range(2):
        reply = await venue.send(A_STREAM)
        with pytest.raises(BrokenAnswerError):
            await drained(reply)
        await reply.close()
    assert len(script.calls) == 2, "the client has seen a part of it"
    assert venue.breakers[""].is_open
    assert venue.meter.in_flight == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"a": "\xff"}',
        b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
async def test_unreadable_answers_are_retried(content: bytes) -> None:
    broken = Answer(content=content)
    venue, script = guarded(broken, broken, Answer())
    assert (await venue.send(A_CALL)).status == 200
    assert (len(script.calls), broken.closed, venue.meter.in_flight) == (3, True, 0)


@pytest.mark.asyncio
async def test_failures_do_not_hold_answers() -> None:
    """Without the garbage collector, which runs rarely: nothing may hold itself."""
    answer = Answer(content=b"not json")
    freed = weakref.ref(answer)
    venue, script = guarded(answer)
    gc.disable()
    try:
        with contextlib.suppress(BrokenAnswerError):
            await venue.send(A_CALL)
        script.script.clear()
        del answer
        assert freed() is None
    finally:
        gc.enable()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"data: not json\n\n",),
        (b'data: {"error": {"message": "out of memory"}}\n\n', DONE),
        (b'event: error\ndata: {"type": "error"}\n\n',),
    ],
)
async def test_streams_without_a_begin_are_retried(parts: tuple[bytes, ...]) -> None:
    broken = Answer(parts=parts)
    venue, script = guarded(broken, Answer())
    reply = await venue.send(A_STREAM)
    assert await drained(reply) == EVENT + DONE
    assert (len(script.calls), broken.closed, venue.meter.in_flight) == (2, True, 1)
    await reply.close()
    assert venue.meter.in_flight == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("bug", [KeyError("content"), RecursionError(), OverflowError(), EOFError()])
async def test_unexpected_failures_release_the_place(bug: Exception) -> None:
    venue, script = guarded(bug)
    for _ in range(2):
        with pytest.raises(BrokenAnswerError, match="violates its API"):
            await venue.send(A_CALL)
    assert (len(script.calls), venue.meter.in_flight) == (5, 0), "three attempts, and two until the breaker opens"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "text",
    ["Thu, 32 Foo 2026", "Mon, 01 Jan 0000 00:00:00 GMT", "1 Jan 2026 00:00:00 +9999", "9" * 4000, "\ud800", "nan"],
)
async def test_bad_retry_dates_release_the_place(text: str) -> None:
    venue, _ = guarded(Answer(status=429, headers={"Retry-After": text}), limits=RateLimits(concurrency=1))
    for _ in range(2):
        with contextlib.suppress(UnavailableError):
            await (await venue.send(A_CALL)).close()
        assert venue.meter.in_flight == 0


@pytest.mark.asyncio
async def test_long_pause_ends_with_one_trial() -> None:
    at = [0.0]
    venue, script = guarded(Answer(status=429, headers={"Retry-After": "1e9"}), clock=lambda: at[0])
    await (await venue.send(A_CALL)).close()
    for wait_s in (60.0, 1.0):
        with pytest.raises(UnavailableError, match="asked for a pause") as caught:
            await venue.send(A_CALL)
        assert caught.value.retry_after_s == wait_s
        at[0] += 59.0 if wait_s == 60.0 else 1.0

    script.script[:] = [Answer()]
    script.hold = asyncio.Event()
    trial = asyncio.create_task(venue.send(A_CALL))
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError):
        await venue.send(A_CALL)
    script.hold.set()
    await trial
    assert len(script.calls) == 2
    for _ in range(2):
        await venue.send(A_CALL)


@pytest.mark.asyncio
async def test_concurrency_limit_in_arrival_order() -> None:
    venue, script = guarded(Answer(), limits=RateLimits(concurrency=2), patience_s=5.0)
    held = [await venue.send(A_STREAM) for _ in range(2)]
    order: list[int] = []

    async def queue(number: int) -> None:
        reply = await venue.send(A_STREAM)
        order.append(number)
        assert venue.meter.in_flight <= 2
        await asyncio.sleep(0)
        await reply.close()

    tasks = [asyncio.create_task(queue(number)) for number in range(8)]
    await asyncio.sleep(0.01)
    assert len(script.calls) == 2
    tasks[3].cancel()
    for reply in held:
        await reply.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 1, 2, 4, 5, 6, 7]
    assert venue.meter.in_flight == 0


@pytest.mark.asyncio
async def test_long_wait_is_unavailable() -> None:
    venue, _ = guarded(Answer(), limits=RateLimits(concurrency=1), patience_s=0.02)
    held = await venue.send(A_STREAM)
    with pytest.raises(UnavailableError, match="all 1 requests"):
        await venue.send(A_CALL)
    await held.close()
    await held.close()  # twice does no harm
    assert venue.meter.in_flight == 0
    await (await venue.send(A_CALL)).close()


@pytest.mark.asyncio
async def test_token_rate_refuses_with_retry_time() -> None:
    at = [0.0]
    venue, script = guarded(Answer(), clock=lambda: at[0], limits=RateLimits(tokens_per_minute=600))
    call = Call(path="/", body=b"", stream=False, model="m", tokens=400)
    await (await venue.send(call)).close()
    with pytest.raises(UnavailableError, match="rate limit") as caught:
        await venue.send(call)
    assert caught.value.retry_after_s == pytest.approx(20.0)
    at[0] = 20.0
    await (await venue.send(call)).close()
    assert len(script.calls) == 2


def test_every_error_names_its_venue() -> None:
    for kind in (UnavailableError, UpstreamTimeoutError, BrokenAnswerError, UpstreamError):
        assert str(kind("what", venue="v")) == "v: what"
