"""Transports of `httpx2`: requests with a deadline wait in batches, all others go straight on."""

import asyncio
import hashlib
import json
import math
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import httpx2

from meritorder.client.api import BatchApi
from meritorder.client.batcher import Batcher
from meritorder.client.calls import (
    DEADLINE_HEADER,
    ENDPOINTS,
    KEY_HEADER,
    MAX_USD_HEADER,
    MESSAGES,
    Promise,
    failure,
    in_anthropic_form,
    make_call,
)
from meritorder.client.journal import Journal, default_path
from meritorder.client.messages import MessageBatchApi
from meritorder.client.progress import Progress
from meritorder.client.proxy import PROXY_URL, ProxyTransport, provider_of
from meritorder.deadlines import parse_deadline
from meritorder.errors import ConfigError, WorkloadsError

COLLECT_S: Final = 0.5
MAX_CALLS: Final = 1000
MAX_OUTAGE_S: Final = 120.0
_LIMITS: Final = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)  # as the official client
_CLOSE_S: Final = 5.0
_AUTHORIZATION: Final = "authorization"
_API_KEY: Final = "x-api-key"  # Anthropic's
_IDENTITY: Final = (_AUTHORIZATION, _API_KEY, "openai-organization", "openai-project")


class AsyncBatchTransport(httpx2.AsyncBaseTransport):
    """Sends requests; those with the header `Meritorder-Deadline` wait for their answers in batches.

    Args:
        journal: File that remembers calls and answers; by default one of this user.
        collect_s: How long a call waits for others before its batch is sent.
        max_calls: Most calls of a batch.
        max_outage_s: How long an outage of the gateway may last until calls fail.
        show_progress: Whether to draw a bar on standard error while calls wait.
        proxy: Whether calls with a deadline go through `meritorder proxy`, which is started if need be, because the URL
            is that of a provider; by default, if it is OpenAI's or Anthropic's.
        inner: Sends what goes straight on, and what the batches need without a proxy; by default, HTTP.
    """

    def __init__(
        self,
        *,
        journal: str | Path | None = None,
        collect_s: float = COLLECT_S,
        max_calls: int = MAX_CALLS,
        max_outage_s: float = MAX_OUTAGE_S,
        show_progress: bool = False,
        proxy: bool | None = None,
        inner: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        if collect_s < 0 or max_calls < 1:
            fix = "give at least 0 seconds and 1 call"
            raise ConfigError(f"collect_s={collect_s} and max_calls={max_calls} form no batches", fix=fix)
        self._inner = inner or httpx2.AsyncHTTPTransport(limits=_LIMITS)
        self._proxy = proxy
        self._collect_s, self._max_calls, self._max_outage_s = collect_s, max_calls, max_outage_s
        self._journal = Journal(Path(journal) if journal else default_path())
        self._batchers: dict[str, Batcher] = {}
        self.progress = Progress(show=show_progress)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request."""
        if DEADLINE_HEADER not in request.headers:
            return await self._inner.handle_async_request(request)
        body = await request.aread()
        try:
            promise = _promise(request, body)
            key = request.headers.get(KEY_HEADER, "")
            with self.progress.call():
                answer = await self._batcher(request, promise.endpoint).answer(make_call(body, promise, key))
        except WorkloadsError as error:
            answer = failure(400, str(error), code="invalid_request", param="deadline")
        if not answer.succeeded and request.url.path.endswith(MESSAGES):
            answer = in_anthropic_form(answer)
        # The official client must not repeat what the batch has already tried.
        headers = {"content-type": "application/json", "x-should-retry": "false"}
        return httpx2.Response(answer.status, headers=headers, content=answer.body, request=request)

    async def aclose(self) -> None:
        """Close connections and journal; what runs at the gateway goes on."""
        for batcher in self._batchers.values():
            await batcher.close()
        self._batchers.clear()
        self._journal.close()
        await self._inner.aclose()

    def _batcher(self, request: httpx2.Request, endpoint: str) -> Batcher:
        url = str(request.url.copy_with(query=None)).removesuffix(endpoint)
        identity = {name: request.headers[name] for name in _IDENTITY if name in request.headers}
        scope = hashlib.sha256(json.dumps([url, identity]).encode()).hexdigest()
        if scope not in self._batchers:
            self._batchers[scope] = Batcher(
                scope,
                self._api(url, identity, endpoint),
                self._journal,
                self.progress,
                collect_s=self._collect_s,
                max_calls=self._max_calls,
            )
        return self._batchers[scope]

    def _api(self, url: str, identity: dict[str, str], endpoint: str) -> BatchApi:
        """Return the batches of a caller, at the gateway or at the proxy of a provider."""
        if api_key := identity.pop(_API_KEY, ""):
            identity.setdefault(_AUTHORIZATION, f"Bearer {api_key}")
        kind, provider, provider_url = BatchApi, "openai", url
        if endpoint == MESSAGES:
            kind, provider, provider_url = MessageBatchApi, "anthropic", url.removesuffix("/v1")
        uses_proxy = provider_of(url) == provider if self._proxy is None else self._proxy
        if not uses_proxy:
            return kind(self._inner, url, identity, self._max_outage_s)
        key = identity.get(_AUTHORIZATION, "").removeprefix("Bearer ")
        return kind(ProxyTransport(provider, provider_url, key), PROXY_URL, identity, self._max_outage_s)


class BatchTransport(httpx2.BaseTransport):
    """The same for clients that block: their calls of many threads wait together.

    Args:
        asynchronous: Answers the requests with a deadline, in a thread of its own.
    """

    def __init__(self, asynchronous: AsyncBatchTransport) -> None:
        self._inner = httpx2.HTTPTransport(limits=_LIMITS)
        self._asynchronous = asynchronous
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request."""
        if DEADLINE_HEADER not in request.headers:
            return self._inner.handle_request(request)
        request.read()
        answer: Future[httpx2.Response] = asyncio.run_coroutine_threadsafe(
            self._asynchronous.handle_async_request(request), self._running_loop()
        )
        try:
            return answer.result()
        except BaseException:
            answer.cancel()
            raise

    def close(self) -> None:
        """Close connections and journal; what runs at the gateway goes on."""
        self._inner.close()
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is None:
            asyncio.run(self._asynchronous.aclose())
            return
        asyncio.run_coroutine_threadsafe(self._asynchronous.aclose(), loop).result(_CLOSE_S)
        loop.call_soon_threadsafe(loop.stop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._loop,), name="meritorder-client", daemon=True).start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _promise(request: httpx2.Request, body: bytes) -> Promise:
    """Return what a request asks for.

    Raises:
        WorkloadsError: It cannot wait in a batch.
    """
    endpoint = next((known for known in ENDPOINTS if request.url.path.endswith(f"/v1{known}")), None)
    if request.method != "POST" or endpoint is None:
        raise WorkloadsError(f"{request.url.path} takes no deadline", fix=f"only {', '.join(ENDPOINTS)} do")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise WorkloadsError("the body is not a JSON object", fix="send the fields of a call")
    if fields.get("stream"):
        raise WorkloadsError("a call with a deadline has no stream", fix="leave out stream")
    deadline, now_s = request.headers[DEADLINE_HEADER], time.time()
    if parse_deadline(deadline).due_s(now_s) <= now_s:
        raise WorkloadsError(f"the deadline {deadline} has passed", fix="give a later one")
    limit = request.headers.get(MAX_USD_HEADER)
    max_usd = None if limit is None else _dollars(limit)
    return Promise(endpoint=endpoint, model=str(fields.get("model")), deadline=deadline, max_usd=max_usd)


def _dollars(text: str) -> float:
    try:
        usd = float(text)
    except ValueError:
        usd = math.nan
    if not (math.isfinite(usd) and usd >= 0):
        raise WorkloadsError(f"quote={text} is not a number of dollars", fix="give dollars a call, such as 0.002")
    return usd
