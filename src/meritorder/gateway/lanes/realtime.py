"""The real-time lane: requests pass straight through to a venue, their bodies untouched, their answers unbuffered."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Final, Self

from meritorder.gateway import decoding
from meritorder.gateway.config import REALTIME
from meritorder.gateway.errors import (
    UnavailableError,
    UnsupportedError,
    UpstreamError,
    UpstreamTimeoutError,
    without_frames,
)
from meritorder.gateway.lanes.answer_recorder import AnswerRecorder, StreamEnd, store_answer
from meritorder.gateway.lanes.history import EchoingReply
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.entries import realtime_entry
from meritorder.gateway.state.request import Request
from meritorder.gateway.upstreams import retry
from meritorder.gateway.upstreams.upstream import Call, Reply
from meritorder.gateway.venues.plans.executor import PlanExecutor
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.asgi import EVENT_STREAM, JSON, Send, respond
from meritorder.gateway.wire.errors import ApiError, invalid_request, normalized_error, unavailable, unknown_model
from meritorder.gateway.wire.usage import Asked, StreamMeter, Usage, measured_usage
from meritorder.latency import tpot_s
from meritorder.units import utc

_DRAIN_S: Final = 1.0
_BROKEN_STREAM: Final = 502
_STREAM_BROKE: Final = "The answer of the model's server broke off."


class _Attempt:
    """An attempt to serve a request at a venue: counted in, and out once, with a ledger entry.

    Args:
        venue: The venue.
        request: The request.
        context: The shared state.
        capacity_freed: Called when it is counted out.
        is_last: Whether no other venue is tried.
    """

    __slots__ = ("_capacity_freed", "_context", "_is_last", "_is_over", "_request", "_venue")

    def __init__(
        self, venue: Venue, request: Request, context: Context, capacity_freed: Callable[[], None], *, is_last: bool
    ) -> None:
        self._venue = venue
        self._request = request
        self._context = context
        self._capacity_freed = capacity_freed
        self._is_last = is_last
        self._is_over = False

    def __enter__(self) -> Self:
        request = self._request
        request.status = None
        request.goes_on = False
        request.waited_s = time.monotonic() - request.started_s if request.attempt else 0.0
        request.attempt += 1
        self._venue.add_realtime(streamed=bool(request.call.stream))
        return self

    async def end(self) -> None:
        """Count it out before the last byte of its answer is sent: its entry survives this process."""
        self._count_out()
        await self._context.ledger_writer.write_together()

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self._is_over:
            return
        if isinstance(error, UpstreamError):
            self._request.goes_on = not self._is_last
        elif error is not None and self._request.usage is None:
            self._request.status = self._context.supervisor.cut_off_status
        self._count_out()
        self._context.ledger_writer.write()

    def _count_out(self) -> None:
        self._is_over = True
        request, venue, now_s = self._request, self._venue, time.monotonic()
        e2e_s = now_s - request.started_s
        usage = request.usage or Usage(input_tokens=calls.estimate_tokens(len(request.body)))
        prefilling = bool(request.call.stream) and request.ttft_s is None
        venue.remove_realtime(now_s, _tpot_s(request, usage, e2e_s), prefilling=prefilling)
        self._capacity_freed()
        cost = 0 if request.usage is None else venue.cost_picousd(usage)
        self._context.ledger_writer.collect(realtime_entry(request, venue.place, usage, e2e_s=e2e_s, cost_picousd=cost))


class RealTime:
    """Serves real-time requests.

    Args:
        context: The shared state.
        venues: The venues that serve them.
        plan_executor: Orders them by the plan.
        capacity_freed: Called when deferrable requests may use more capacity.
    """

    def __init__(
        self, context: Context, venues: Venues, plan_executor: PlanExecutor, capacity_freed: Callable[[], None]
    ) -> None:
        self._context = context
        self._venues = venues
        self._plan_executor = plan_executor
        self._capacity_freed = capacity_freed

    async def serve(self, request: Request, send: Send) -> None:
        """Send a request to the first venue that accepts it, and pass its answer through.

        Raises:
            ApiError: No venue accepted it; nothing was sent to the client yet.
        """
        model = request.call.model or ""
        venues = self._venues.serving(model, REALTIME)
        if not venues:
            raise unknown_model(model, request.endpoint)
        failure: UpstreamError | None = None
        admitting = [venue for venue in venues if not venue.is_draining]
        candidates = self._plan_executor.realtime_venues(model, request.key.tenant, admitting)
        for number, venue in enumerate(candidates, 1):
            try:
                await self._serve_at(venue, request, send, is_last=number == len(candidates))
            except UpstreamError as error:
                failure = without_frames(error)
            else:
                return
        raise _as_api_error(failure) from None

    async def _serve_at(self, venue: Venue, request: Request, send: Send, *, is_last: bool) -> None:
        """Serve a request at a venue.

        Raises:
            UpstreamError: The venue did not serve it, and nothing was sent to the client yet.
        """
        call = Call(
            path=request.endpoint,
            body=request.body,
            stream=bool(request.call.stream),
            model=request.call.model or "",
            tokens=calls.estimate_tokens(len(request.body)),
            tenant=request.key.tenant,
        )
        with _Attempt(venue, request, self._context, self._capacity_freed, is_last=is_last) as attempt:
            reply = await venue.upstream.send(call)
            try:
                if request.original is not None:
                    reply = EchoingReply(reply, request.original)
                request.status = reply.status
                if reply.status == 200 and call.stream:
                    await self._forward_stream(request, venue, reply, send, attempt)
                elif is_last or not retry.is_transient(reply.status):
                    await self._forward_whole(request, reply, send, attempt)
                else:
                    raise UnavailableError(f"answered with {reply.status}", venue=venue.name)
            finally:
                await reply.close()

    async def _forward_whole(self, request: Request, reply: Reply, send: Send, attempt: _Attempt) -> None:
        body = await reply.read()
        headers = [(b"content-type", JSON)]
        if reply.status >= 400:
            body = await decoding.run(normalized_error, body, reply.status)
            after_s = retry.retry_after_s(reply.headers, utc(self._context.now_s()))
            if after_s is not None:
                headers.append((b"retry-after", b"%d" % max(1, math.ceil(after_s))))
        else:
            request.usage = await decoding.run(measured_usage, body, _asked(request))
            if request.stored_as is not None:
                body = await store_answer(self._context, request, body)
        await attempt.end()
        await respond(send, reply.status, headers, body)

    async def _forward_stream(
        self, request: Request, venue: Venue, reply: Reply, send: Send, attempt: _Attempt
    ) -> None:
        headers = [(b"content-type", EVENT_STREAM), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        parts, meter, end = reply.body, StreamMeter(), StreamEnd(request.endpoint)
        recorder = AnswerRecorder(request.endpoint) if request.stored_as is not None else None
        is_broken = False
        try:
            async for part in parts:
                if request.ttft_s is None:
                    now_s = time.monotonic()
                    request.ttft_s = now_s - request.started_s
                    venue.record_first_token(now_s, request.ttft_s)
                    venue.pace.add(meter)
                    self._capacity_freed()
                meter.feed(part)
                if recorder is not None:
                    recorder.feed(part)
                if ready := end.feed(part):
                    await send({"type": "http.response.body", "body": ready, "more_body": True})
                if end.reached:
                    break
        except UpstreamError:
            is_broken = True
        finally:
            venue.pace.remove(meter)
            request.usage = meter.usage(_asked(request))
        if is_broken:
            request.status = _BROKEN_STREAM
            last = ApiError(_BROKEN_STREAM, _STREAM_BROKE, code="upstream_error").event(request.endpoint)
        elif recorder is not None:
            last = await self._store(request, recorder, end.rest())
        else:
            last = end.rest()
        await attempt.end()
        await send({"type": "http.response.body", "body": last})
        if end.reached:
            await _drain(parts)

    async def _store(self, request: Request, recorder: AnswerRecorder, last: bytes) -> bytes:
        """Store a streamed answer; return its last event, or an error event if it was not stored."""
        try:
            await store_answer(self._context, request, await recorder.answer())
        except ApiError as error:
            return error.event(request.endpoint)
        return last


async def _drain(parts: AsyncIterator[bytes]) -> None:
    """Read what follows the last event, so that the connection can be used again."""
    with contextlib.suppress(UpstreamError, TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in parts:
                pass


def _tpot_s(request: Request, usage: Usage, e2e_s: float) -> float | None:
    if request.status != 200 or usage.output_tokens <= 1:
        return None
    if request.ttft_s is None:
        # Without streaming, the time to first token is unknown.
        return e2e_s / usage.output_tokens
    return tpot_s(e2e_s, request.ttft_s, usage.output_tokens)


def _asked(request: Request) -> Asked:
    return Asked.of(request.body, request.call.output_tokens)


def _as_api_error(error: UpstreamError | None) -> ApiError:
    if isinstance(error, UnsupportedError):
        return invalid_request(error.what, param=error.param, code="unsupported_parameter")
    if isinstance(error, UpstreamTimeoutError):
        return ApiError(504, "The model did not answer in time.", code="timeout")
    after_s = getattr(error, "retry_after_s", None)
    return unavailable("No venue can take this request now.", retry_after_s=after_s, code="no_venue")
