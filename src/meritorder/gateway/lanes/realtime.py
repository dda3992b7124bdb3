"""The real-time lane: a request goes straight to an engine or provider, its body untouched, its answer unbuffered."""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from meritorder.gateway.errors import UnsupportedError, UpstreamError, UpstreamTimeoutError
from meritorder.gateway.lanes.answer_recorder import Keeping, kept_item
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.request import Request
from meritorder.gateway.store import stored_answers
from meritorder.gateway.store.ledger import Entry
from meritorder.gateway.upstreams.upstream import Call, Reply
from meritorder.gateway.venues.plan_executor import PlanExecutor
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.asgi import Send, respond
from meritorder.gateway.wire.errors import ApiError, invalid_request, normalized_error, unavailable
from meritorder.gateway.wire.usage import StreamMeter, Usage, parse_usage
from meritorder.latency import tpot_s

LANE: Final = "realtime"
_CLIENT_GONE: Final = 499  # nginx's word for it; only in the ledger
# Of one connection, or of what our HTTP client has undone already.
_NOT_PASSED_ON: Final = frozenset(
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
    """Carries real-time requests.

    Args:
        context: What is shared.
        venues: Where they run.
        plan_executor: In which order the plan tries them.
        made_room: Told when work that can wait may have more room.
    """

    def __init__(
        self, context: Context, venues: Venues, plan_executor: PlanExecutor, made_room: Callable[[], None]
    ) -> None:
        self._context = context
        self._venues = venues
        self._plan_executor = plan_executor
        self._made_room = made_room
        self.in_flight = 0

    async def carry(self, request: Request, send: Send) -> None:
        """Send a request to the first venue that takes it, and pass its answer on.

        Raises:
            ApiError: No venue took it; nothing was answered yet.
        """
        model = request.call.model or ""
        venues = self._venues.serving(model, LANE)
        if not venues:
            raise ApiError(
                404,
                f"The model '{model}' does not exist or you do not have access to it.",
                param="model",
                code="model_not_found",
            )
        refused: UpstreamError | None = None
        for venue in self._plan_executor.realtime_venues(model, request.key.tenant, venues):
            venue.add_realtime(streamed=bool(request.call.stream))
            self.in_flight += 1
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
                self._left(venue, request)
                refused = error
                continue
            except BaseException:
                request.status = _CLIENT_GONE
                self._left(venue, request)
                raise
            await self._answer(request, venue, reply, send)
            return
        raise _problem(refused)

    async def _answer(self, request: Request, venue: Venue, reply: Reply, send: Send) -> None:
        request.status = reply.status
        try:
            if request.call.stream and reply.status == 200:
                await self._pass_stream(request, venue, reply, send)
            else:
                await self._pass_whole(request, reply, send)
        except BaseException:
            request.status = _CLIENT_GONE if request.usage is None else request.status
            raise
        finally:
            self._left(venue, request)
            await reply.close()

    async def _pass_whole(self, request: Request, reply: Reply, send: Send) -> None:
        body = await reply.read()
        request.usage = parse_usage(body)
        if reply.status >= 400:
            body = normalized_error(body)
        elif request.kept_as is not None:
            self._keep(request, body)
        headers = _passed_on(reply.headers)
        headers.append((b"x-request-id", request.id.encode()))
        await respond(send, reply.status, headers, body)

    async def _pass_stream(self, request: Request, venue: Venue, reply: Reply, send: Send) -> None:
        headers = _passed_on(reply.headers)
        headers.append((b"x-request-id", request.id.encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        meter = StreamMeter()
        keeping = Keeping(request.endpoint) if request.kept_as is not None else None
        try:
            async for chunk in reply.body:
                if request.ttft_s is None:
                    now_s = time.monotonic()
                    request.ttft_s = now_s - request.started_s
                    venue.record_first_token(now_s, request.ttft_s)
                    venue.pace.add(meter)
                    self._made_room()
                meter.feed(chunk)
                if keeping is not None:
                    keeping.see(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            venue.pace.remove(meter)
            request.usage = meter.usage(calls.estimate_tokens(len(request.body)))
        if keeping is not None and (answer := await keeping.answer()) is not None:
            self._keep(request, answer)  # before the end is sent: the client may ask for it at once
        await send({"type": "http.response.body", "body": b""})

    def _keep(self, request: Request, answer: bytes) -> None:
        """Keep an answer, to be retrieved; the client has it already, and does not wait for that."""
        item = kept_item(request, answer)
        if item is not None:
            self._context.database.submit(lambda connection: stored_answers.add(connection, item))

    def _left(self, venue: Venue, request: Request) -> None:
        """Count a request out, and write its row of the ledger."""
        self.in_flight -= 1
        now_s = time.monotonic()
        e2e_s = now_s - request.started_s
        used = request.usage or Usage(input_tokens=calls.estimate_tokens(len(request.body)))
        prefilling = bool(request.call.stream) and request.ttft_s is None
        venue.remove_realtime(now_s, _tpot_s(request, used, e2e_s), prefilling=prefilling)
        self._made_room()
        cost = venue.cost_picousd(used) if request.status == 200 else 0
        self._context.authenticator.spend(request.key.id, cost)
        self._context.ledger_writer.add(
            Entry(
                request_id=request.id,
                arrived_s=request.arrived_s,
                started_s=request.arrived_s,
                ended_s=request.arrived_s + e2e_s,
                ttft_s=request.ttft_s,
                lane=LANE,
                tenant=request.key.tenant,
                key_id=request.key.id,
                model=request.call.model or "",
                endpoint=request.endpoint,
                venue=venue.name,
                status_code=request.status,
                input_tokens=used.input_tokens,
                cached_tokens=used.cached_tokens,
                output_tokens=used.output_tokens,
                counted=used.counted,
                cost_picousd=cost,
            )
        )


def _tpot_s(request: Request, used: Usage, e2e_s: float) -> float | None:
    if request.status != 200 or used.output_tokens <= 1:
        return None
    if request.ttft_s is None:
        # Not streamed: its pace is known only with its first token in it.
        return e2e_s / used.output_tokens
    return tpot_s(e2e_s, request.ttft_s, used.output_tokens)


def _passed_on(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [
        (passed, value.encode("latin-1"))
        for name, value in headers.items()
        if (passed := _passed_on_as(name)) is not None
    ]


@lru_cache(maxsize=256)  # a venue has the same few in every answer
def _passed_on_as(name: str) -> bytes | None:
    lower = name.lower()
    return None if lower in _NOT_PASSED_ON else lower.encode("latin-1")


def _problem(error: UpstreamError | None) -> ApiError:
    if isinstance(error, UnsupportedError):
        return invalid_request(error.what, param=error.param, code="unsupported_parameter")
    if isinstance(error, UpstreamTimeoutError):
        return ApiError(504, "The model did not answer in time.", code="timeout")
    after_s = getattr(error, "retry_after_s", None)
    return unavailable("No venue can take this request now.", retry_after_s=after_s, code="no_venue")
