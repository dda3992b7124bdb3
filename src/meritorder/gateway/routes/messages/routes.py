"""`/v1/messages` and `/v1/messages/batches`: each request becomes one to the gateway's own API.

So keys, lanes, budgets, limits and the ledger are those of that API; only the form differs.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from meritorder.gateway import decoding
from meritorder.gateway.errors import UnsupportedError
from meritorder.gateway.routes.answering import whole_body
from meritorder.gateway.routes.messages import answer, batches
from meritorder.gateway.routes.messages.request import counted_chat, to_chat, to_response_input
from meritorder.gateway.state.context import Context
from meritorder.gateway.upstreams.dialects.fields import Json
from meritorder.gateway.wire import calls, checks
from meritorder.gateway.wire.asgi import Message, Receive, Scope, Send
from meritorder.gateway.wire.errors import INVALID_JSON, ApiError, anthropic_error, invalid_request, unknown_model
from meritorder.gateway.wire.events import EventCutter, parse_events

_INPUT_TOKENS: Final = "/v1/responses/input_tokens"
_CANNOT_COUNT: Final = (400, 404, 405, 422, 501, 502, 503)  # most venues have no such path
_BATCHES: Final = "/v1/messages/batches"
_BATCH: Final = _BATCHES + "/{batch_id}"
_WINDOW: Final = "24h"
_PASSED_HEADERS: Final = ("meritorder-deadline", "traceparent", "idempotency-key")
_QUEUED_PARTS: Final = 64

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(slots=True)
class _Reply:
    """An answer of the gateway's own API, whose body arrives."""

    status: int
    headers: dict[str, str]
    task: "asyncio.Task[None]"
    parts: "asyncio.Queue[bytes | None]" = field(default_factory=lambda: asyncio.Queue(_QUEUED_PARTS))

    async def body(self) -> AsyncIterator[bytes]:
        try:
            while (part := await self.parts.get()) is not None:
                yield part
        finally:
            self.task.cancel()  # if its client has left

    async def read(self) -> bytes:
        return b"".join([part async for part in self.body()])


class Messages:
    """The routes of Anthropic's API.

    Args:
        context: The shared state.
        app: The gateway.
    """

    def __init__(self, context: Context, app: Application) -> None:
        self._context = context
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/messages", _in_their_form(self.create), methods=["POST"]),
            Route("/v1/messages/count_tokens", _in_their_form(self.count_tokens), methods=["POST"]),
            Route(_BATCHES, _in_their_form(self.create_batch), methods=["POST"]),
            Route(_BATCHES, _in_their_form(self.list_batches), methods=["GET"]),
            Route(_BATCHES + "/files", _in_their_form(self.create_file), methods=["POST"]),
            Route(_BATCH, _in_their_form(self.retrieve_batch), methods=["GET"]),
            Route(_BATCH + "/cancel", _in_their_form(self.cancel_batch), methods=["POST"]),
            Route(_BATCH + "/results", _in_their_form(self.results), methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """Answer a message, whole or streamed."""
        chat, is_stream = await decoding.run(_chat, await self._content(request))
        reply = await self._ask(request, "POST", batches.CHAT, chat)
        headers = _headers(reply)
        if reply.status != 200:
            raise _failure(reply.status, await reply.read(), headers)
        if is_stream:
            return StreamingResponse(_events(reply), headers=headers, media_type="text/event-stream")
        return _json(await decoding.run(_message, await reply.read()), headers)

    async def count_tokens(self, request: Request) -> Response:
        """Count the input tokens of a message: by the model's venue if it can, else an estimate that says so."""
        count = await decoding.run(_count, await self._content(request))
        if count.request is not None:
            reply = await self._ask(request, "POST", _INPUT_TOKENS, count.request)
            content, headers = await reply.read(), _headers(reply)
            if reply.status == 200:
                return _json({"input_tokens": msgspec.json.decode(content)["input_tokens"]}, headers)
            if reply.status not in _CANNOT_COUNT:
                raise _failure(reply.status, content, headers)
        if count.model not in await self._models(request):
            raise unknown_model(count.model, batches.CHAT)
        return _json({"input_tokens": count.estimated_tokens, "is_estimate": True})

    async def _models(self, request: Request) -> set[str]:
        return {model["id"] for model in (await self._json(request, "GET", "/v1/models"))["data"]}

    async def create_file(self, request: Request) -> Response:
        """Store the requests of a batch as the input of one of the gateway's own, to be quoted, and created once."""
        file_id, total = await self._upload(request)
        return _json({"id": file_id, "object": "file", "requests": total})

    async def create_batch(self, request: Request) -> Response:
        """Create a batch of messages that name one model."""
        file_id, total = await self._upload(request)
        batch = {"input_file_id": file_id, "endpoint": batches.CHAT, "completion_window": _WINDOW}
        created = await self._json(request, "POST", "/v1/batches", msgspec.json.encode(batch))
        return _json(batches.to_batch(created, _batches_url(request), total=total))

    async def _upload(self, request: Request) -> tuple[str, int]:
        """Upload the requests of a batch; return the id of the file, and their number."""
        form, total = await decoding.run(batches.to_form, await self._content(request))
        uploaded = await self._json(request, "POST", "/v1/files", form, batches.FORM_TYPE)
        return uploaded["id"], total

    async def list_batches(self, request: Request) -> Response:
        """List batches, newest first."""
        query = request.query_params
        after = f"&after={batches.own_id(query['after_id'])}" if query.get("after_id") else ""
        page = await self._json(request, "GET", f"/v1/batches?limit={query.get('limit', '20')}{after}")
        listed = [batches.to_batch(batch, _batches_url(request)) for batch in page["data"]]
        ends = {"first_id": listed[0]["id"] if listed else None, "last_id": listed[-1]["id"] if listed else None}
        return _json({"data": listed, "has_more": page["has_more"], **ends})

    async def retrieve_batch(self, request: Request) -> Response:
        """Return a batch."""
        return _json(batches.to_batch(await self._batch(request), _batches_url(request)))

    async def cancel_batch(self, request: Request) -> Response:
        """Cancel a batch."""
        path = f"/v1/batches/{batches.own_id(request.path_params['batch_id'])}/cancel"
        return _json(batches.to_batch(await self._json(request, "POST", path), _batches_url(request)))

    async def results(self, request: Request) -> Response:
        """Return the results of a batch that has ended, one a line."""
        batch = await self._batch(request)
        if batch["status"] not in batches.ENDED:
            raise invalid_request(f"The batch {request.path_params['batch_id']} has not ended.")
        files = [batch[name] for name in ("output_file_id", "error_file_id") if batch.get(name)]
        return StreamingResponse(self._result_lines(request, files), media_type="application/x-jsonl")

    async def _result_lines(self, request: Request, files: list[str]) -> AsyncIterator[bytes]:
        for file_id in files:
            reply = await self._ask(request, "GET", f"/v1/files/{file_id}/content")
            incomplete = b""
            async for part in reply.body():
                *lines, incomplete = (incomplete + part).split(b"\n")
                if lines:
                    yield b"".join(batches.to_result(line) for line in lines)

    async def _content(self, request: Request) -> bytes:
        """Return the body of a caller's request."""
        await self._context.authenticator.authenticate(_authorization(request), request.method)
        return await whole_body(self._context, request)

    async def _batch(self, request: Request) -> Json:
        return await self._json(request, "GET", f"/v1/batches/{batches.own_id(request.path_params['batch_id'])}")

    async def _json(
        self, request: Request, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
    ) -> Json:
        return await _answer_of(await self._ask(request, method, path, body, content_type))

    async def _ask(
        self, request: Request, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
    ) -> _Reply:
        """Send a request to the gateway's own API with the caller's key; return its answer once it begins."""
        path, _, query = path.partition("?")
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        if (authorization := _authorization(request)) is not None:
            headers.append((b"authorization", authorization))
        passed = ((name, request.headers.get(name)) for name in _PASSED_HEADERS)
        headers += [(name.encode(), value.encode("latin-1")) for name, value in passed if value is not None]
        scope = {name: value for name, value in request.scope.items() if name in _SCOPE}
        scope |= {"method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode()}
        scope["headers"] = headers
        waiting = [{"type": "http.request", "body": body, "more_body": False}]
        begun: asyncio.Future[_Reply] = asyncio.get_running_loop().create_future()

        async def receive() -> Message:
            return waiting.pop() if waiting else await request.receive()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
                begun.set_result(_Reply(message["status"], named, task))
            elif message.get("body"):
                await begun.result().parts.put(message["body"])

        task = asyncio.create_task(self._run(scope, receive, send, begun))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await begun

    async def _run(self, scope: Scope, receive: Receive, send: Send, begun: "asyncio.Future[_Reply]") -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            if not begun.done():
                begun.set_exception(ApiError(500, "The request was not answered."))
            else:
                await begun.result().parts.put(None)


_SCOPE: Final = ("type", "asgi", "http_version", "scheme", "client", "server", "root_path")


def _in_their_form(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return a route whose errors have Anthropic's form."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except UnsupportedError as error:
            return _json(anthropic_error(400, error.what), status=400)
        except ApiError as error:
            status = 529 if error.status == 503 else error.status
            return _json(anthropic_error(status, error.message), dict(error.headers), status=status)

    return handle


def _authorization(request: Request) -> bytes | None:
    """Return the caller's key as the gateway's own API takes it."""
    key, bearer = request.headers.get("x-api-key"), request.headers.get("authorization")
    if bearer is None and key is not None:
        bearer = f"Bearer {key}"
    return None if bearer is None else bearer.encode("latin-1")


def _batches_url(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}{_BATCHES}"


async def _answer_of(reply: _Reply) -> Json:
    content = await reply.read()
    if reply.status != 200:
        raise _failure(reply.status, content, _headers(reply))
    return msgspec.json.decode(content, type=Json)


def _failure(status: int, body: bytes, headers: dict[str, str]) -> ApiError:
    message = answer.to_error(status, body)["error"]["message"]
    return ApiError(status, message, headers=tuple(headers.items()))


def _headers(reply: _Reply) -> dict[str, str]:
    headers = {name: reply.headers[name] for name in ("retry-after", "x-request-id") if name in reply.headers}
    return headers | ({"request-id": headers["x-request-id"]} if "x-request-id" in headers else {})


def _json(content: Json, headers: dict[str, str] | None = None, *, status: int = 200) -> Response:
    given = {name: value for name, value in (headers or {}).items() if name != "x-request-id"}
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json", headers=given)


async def _events(reply: _Reply) -> AsyncIterator[bytes]:
    stream, cutter = answer.MessageEvents(), EventCutter()
    try:
        async for part in reply.body():
            for _, data in parse_events(cutter.feed(part)):
                produced = stream.end() if data == b"[DONE]" else stream.feed(msgspec.json.decode(data, type=Json))
                yield b"".join(map(_event, produced))
                if stream.ended:
                    return
    except (*INVALID_JSON, KeyError, TypeError, AttributeError, ValueError):
        pass
    yield _event(anthropic_error(500, "The answer broke off."))


def _event(content: Json) -> bytes:
    return f"event: {content['type']}\ndata: ".encode() + msgspec.json.encode(content) + b"\n\n"


def _chat(body: bytes) -> tuple[bytes, bool]:
    """Return a message as a chat completion, and whether it is streamed."""
    chat = to_chat(checks.json_object(body))
    return msgspec.json.encode(chat), bool(chat.get("stream"))


def _message(completion: bytes) -> Json:
    return answer.to_message(msgspec.json.decode(completion))


class _Count(NamedTuple):
    """A count of input tokens: the request by which a venue counts, if there is one, and an estimate."""

    model: str
    request: bytes | None
    estimated_tokens: int


def _count(body: bytes) -> _Count:
    chat = counted_chat(checks.json_object(body))
    asked = to_response_input(chat)
    estimate = calls.estimate_tokens(len(msgspec.json.encode(chat)))
    return _Count(chat["model"], None if asked is None else msgspec.json.encode(asked), estimate)
