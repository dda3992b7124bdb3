"""Limits, retries and the breaker, each alone and together before a venue that fails."""

import asyncio
import datetime as dt
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meritorder.gateway.errors import (
    BrokenAnswerError,
    UnavailableError,
    UnsupportedError,
    UpstreamError,
    UpstreamTimeoutError,
)
from meritorder.gateway.upstreams.guard import Bucket, Guard, Guarded, RateLimits
from meritorder.gateway.upstreams.retry import RetryRule
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply

NOW = dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC)
A_CALL = Call(path="/v1/chat/completions", body=b"{}", stream=False, model="m")
AT_ONCE = RetryRule(attempts=3, first_wait_s=0.001)


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    breaks: bool = False
    closed: bool = False

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._body()

    async def _body(self) -> AsyncIterator[bytes]:
        yield b"{"
        if self.breaks:
            raise BrokenAnswerError("the answer broke off", venue="v")
        yield b"}"

    async def read(self) -> bytes:
        return b"".join([part async for part in self._body()])

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
        assert venue.breaker.failed == (1 if isinstance(error, UpstreamTimeoutError) else 0)


@pytest.mark.asyncio
async def test_client_timeout_is_no_venue_fault() -> None:
    venue, _ = guarded(UpstreamTimeoutError("t", venue="v"))
    for _ in range(20):
        with pytest.raises(UpstreamTimeoutError):
            await venue.send(Call(path="/", body=b"", stream=False, model="m", timeout_s=0.1))
    assert venue.breaker.failed == 0


@pytest.mark.asyncio
async def test_named_retry_time_is_no_failure() -> None:
    venue, script = guarded(UnavailableError("is still starting", venue="v", retry_after_s=0.001), breaker_failures=2)
    for _ in range(3):
        with pytest.raises(UnavailableError, match="starting"):
            await venue.send(A_CALL)
    assert not venue.breaker.is_open
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
    assert not venue.breaker.is_open
    await (await venue.send(A_CALL)).close()


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
async def test_broken_answers_count_as_failures() -> None:
    venue, _ = guarded(Answer(breaks=True), breaker_failures=2)
    for read in (True, False):
        reply = await venue.send(A_CALL)
        with pytest.raises(BrokenAnswerError):
            await (reply.read() if read else drained(reply))
        await reply.close()
    assert venue.breaker.is_open


@pytest.mark.asyncio
async def test_concurrency_limit_in_arrival_order() -> None:
    venue, script = guarded(Answer(), limits=RateLimits(concurrency=2), patience_s=5.0)
    held = [await venue.send(A_CALL) for _ in range(2)]
    order: list[int] = []

    async def queue(number: int) -> None:
        reply = await venue.send(A_CALL)
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
    held = await venue.send(A_CALL)
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


@given(
    st.floats(1, 1e6),
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(-30, 600)), min_size=1, max_size=30),
)
def test_bucket_never_exceeds_inflow(per_minute: float, steps: list[tuple[float, float]]) -> None:
    bucket, now_s, taken = Bucket(per_minute=per_minute), 0.0, 0.0
    for amount, passes_s in steps:
        now_s += passes_s  # the clock may be set back
        part = min(amount, per_minute)
        if bucket.wait_s(part, now_s) == 0:
            bucket.take(part, now_s)
            taken += part
    risen_s = sum(max(passes_s, 0.0) for _, passes_s in steps)
    assert taken <= per_minute * (1 + risen_s / 60) * (1 + 1e-9)


@given(st.floats(1, 1e6), st.floats(0, 1e7), st.floats(0, 1e4))
def test_bucket_wait_is_sufficient(per_minute: float, amount: float, used: float) -> None:
    bucket = Bucket(per_minute=per_minute)
    bucket.take(used, 0.0)
    wait_s = bucket.wait_s(amount, 0.0)
    assert bucket.wait_s(amount, wait_s * (1 + 1e-9) + 1e-6) == pytest.approx(0.0, abs=1e-6)


def test_every_error_names_its_venue() -> None:
    for kind in (UnavailableError, UpstreamTimeoutError, BrokenAnswerError, UpstreamError):
        assert str(kind("what", venue="v")) == "v: what"
