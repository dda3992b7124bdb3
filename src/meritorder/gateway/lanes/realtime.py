"""The real-time lane: requests pass straight through to a venue, their bodies untouched, their answers unbuffered."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache, lru_cache
from typing import Final

from meritorder.gateway.config import REALTIME
from meritorder.gateway.errors import UnsupportedError, UpstreamError, UpstreamTimeoutError
from meritorder.gateway.lanes.answer_recorder import AnswerRecorder, StreamEnd, store_answer
from meritorder.gateway.lanes.history import EchoingReply
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.ledger_writer import realtime_entry
from meritorder.gateway.state.request import Request
from meritorder.gateway.upstreams.upstream import Call, Reply
from meritorder.gateway.venues.plan_executor import PlanExecutor
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.asgi import Send, respond
from meritorder.gateway.wire.errors import ApiError, invalid_request, normalized_error, unavailable, unknown_model
from meritorder.gateway.wire.usage import StreamMeter, Usage, parse_usage
from meritorder.latency import tpot_s

_DRAIN_S: Final = 1.0
# Headers of one connection, or of an encoding that our HTTP client has already decoded.
_DROPPED_HEADERS: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "transfer-encoding",
        "content-length",
        "content-encoding",
        "date",
        "server",
        "x-request-id",
        "set-cookie",
    }
)


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
        for venue in self._plan_executor.realtime_venues(model, request.key.tenant, venues):
            venue.add_realtime(streamed=bool(request.call.stream))
            try:
                reply = await venue.upstream.send(
                    Call(
                        path=request.endpoint,
                        body=request.body,
                        stream=bool(request.call.stream),
                        model=model,
                        tokens=calls.estimate_tokens(len(request.body)),
                    )
                )
            except UpstreamError as error:
                self._finish(venue, request)
                failure = error
                continue
            except BaseException:
                request.status = self._context.supervisor.cut_off_status
                self._finish(venue, request)
                raise
            if request.original is not None:
                reply = EchoingReply(reply, request.original)
            await self._forward(request, venue, reply, send)
            return
        raise _as_api_error(failure)

    async def _forward(self, request: Request, venue: Venue, reply: Reply, send: Send) -> None:
        request.status = reply.status
        finish = cache(lambda: self._finish(venue, request))  # once, before the client has the whole answer
        try:
            if request.call.stream and reply.status == 200:
                await self._forward_stream(request, venue, reply, send, finish)
            else:
                await self._forward_whole(request, reply, send, finish)
        except BaseException:
            if request.usage is None:
                request.status = self._context.supervisor.cut_off_status
            raise
        finally:
            finish()
            await reply.close()

    async def _forward_whole(self, request: Request, reply: Reply, send: Send, finish: Callable[[], None]) -> None:
        body = await reply.read()
        request.usage = parse_usage(body)
        if reply.status >= 400:
            body = normalized_error(body)
        elif request.stored_as is not None:
            body = await store_answer(self._context, request, body)
        finish()
        headers = _forwarded_headers(reply.headers)
        headers.append((b"x-request-id", request.id.encode()))
        await respond(send, reply.status, headers, body)

    async def _forward_stream(
        self, request: Request, venue: Venue, reply: Reply, send: Send, finish: Callable[[], None]
    ) -> None:
        headers = _forwarded_headers(reply.headers)
        headers.append((b"x-request-id", request.id.encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        parts, meter, end = reply.body, StreamMeter(), StreamEnd(request.endpoint)
        recorder = AnswerRecorder(request.endpoint) if request.stored_as is not None else None
        try:
            async for chunk in parts:
                if request.ttft_s is None:
                    now_s = time.monotonic()
                    request.ttft_s = now_s - request.started_s
                    venue.record_first_token(now_s, request.ttft_s)
                    venue.pace.add(meter)
                    self._capacity_freed()
                meter.feed(chunk)
                if recorder is not None:
                    recorder.feed(chunk)
                if ready := end.feed(chunk):
                    await send({"type": "http.response.body", "body": ready, "more_body": True})
                if end.reached:
                    break
        finally:
            venue.pace.remove(meter)
            request.usage = meter.usage(calls.estimate_tokens(len(request.body)))
        last = end.rest()
        if recorder is not None:
            last = await self._store(request, recorder, last)
        finish()
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

    def _finish(self, venue: Venue, request: Request) -> None:
        """Release a request's place at its venue, and add its ledger entry."""
        now_s = time.monotonic()
        e2e_s = now_s - request.started_s
        usage = request.usage or Usage(input_tokens=calls.estimate_tokens(len(request.body)))
        prefilling = bool(request.call.stream) and request.ttft_s is None
        venue.remove_realtime(now_s, _tpot_s(request, usage, e2e_s), prefilling=prefilling)
        self._capacity_freed()
        cost = venue.cost_picousd(usage) if request.status == 200 else 0
        entry = realtime_entry(request, venue.name, usage, e2e_s=e2e_s, cost_picousd=cost)
        self._context.ledger_writer.add(entry)


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


def _forwarded_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [
        (forwarded, value.encode("latin-1"))
        for name, value in headers.items()
        if (forwarded := _forwarded_name(name)) is not None
    ]


@lru_cache(maxsize=256)  # answers of a venue share the same few headers
def _forwarded_name(name: str) -> bytes | None:
    lower = name.lower()
    return None if lower in _DROPPED_HEADERS else lower.encode("latin-1")


def _as_api_error(error: UpstreamError | None) -> ApiError:
    if isinstance(error, UnsupportedError):
        return invalid_request(error.what, param=error.param, code="unsupported_parameter")
    if isinstance(error, UpstreamTimeoutError):
        return ApiError(504, "The model did not answer in time.", code="timeout")
    after_s = getattr(error, "retry_after_s", None)
    return unavailable("No venue can take this request now.", retry_after_s=after_s, code="no_venue")
