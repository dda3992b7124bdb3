"""One attempt to run a queued request at a venue: its answer, its ledger entry, and how fast attempts complete."""

import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final

import msgspec

from meritorder.gateway import decoding
from meritorder.gateway.errors import (
    BlobMissingError,
    StoreUnavailableError,
    UnavailableError,
    UnsupportedError,
    UpstreamError,
)
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files
from meritorder.gateway.store.queue.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.upstreams import retry
from meritorder.gateway.upstreams.contract import check_answer
from meritorder.gateway.upstreams.upstream import Call
from meritorder.gateway.venues.venues import RunningRequest, Venue
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.assemble import AnswerAssembler
from meritorder.gateway.wire.errors import internal_error, normalized_error
from meritorder.gateway.wire.exchange import new_request_id
from meritorder.gateway.wire.usage import Asked, Usage, measured_usage
from meritorder.units import utc

_STORE_RETRY_S: Final = 0.5
_FIRST_RETRY_WAIT_S: Final = 0.5
_MAX_RETRY_WAIT_S: Final = 30.0
_MAX_PAUSE_S: Final = 5.0
_NOT_STREAMED: Final = {"stream": None, "stream_options": None}
_MAX_CACHED_BLOBS: Final = 1000
_RATE_WINDOW_S: Final = 60.0


class AttemptFailedError(Exception):
    """The venue did not answer, or refused for now; the request is requeued.

    Args:
        retry_after_s: When to try again; None if the venue named no time.
        answer: The answer to store if the request has no attempts left.
        fault: Whether the attempt counts against the request's limit.
    """

    def __init__(self, retry_after_s: float | None, answer: RequestAnswer, *, fault: bool) -> None:
        super().__init__(answer.error_message)
        self.retry_after_s, self.answer, self.fault = retry_after_s, answer, fault

    def wait_s(self, faults: int) -> float:
        """Return the wait before the next attempt: as the venue asks, else twice as long with each fault."""
        wait_s = self.retry_after_s
        if wait_s is None:
            wait_s = _FIRST_RETRY_WAIT_S * 2.0 ** min(faults, 10)
        return min(wait_s, _MAX_RETRY_WAIT_S)


class Attempts:
    """Sends queued requests to venues.

    Args:
        context: The shared state.
        mark_unavailable: Called with a venue that is unavailable, and its `Retry-After` in seconds if it sent one.
        prefilled: Called at each first token: the engine can prefill the next prompt.
    """

    def __init__(
        self,
        context: Context,
        mark_unavailable: Callable[[Venue, float | None], None],
        prefilled: Callable[[], None],
    ) -> None:
        self._context = context
        self._mark_unavailable = mark_unavailable
        self._prefilled = prefilled
        self._blobs: dict[int, str] = {}

    async def send(self, request: ClaimedRequest, venue: Venue, running: RunningRequest) -> RequestAnswer:
        """Send a request to a venue and return its answer.

        Raises:
            AttemptFailedError: The venue did not answer, or refused for now.
        """
        context, request_id = self._context, new_request_id()
        try:
            body = await self._body(request)
        except StoreUnavailableError as error:
            is_missing = isinstance(error, BlobMissingError)
            wait_s = None if is_missing else _STORE_RETRY_S
            raise AttemptFailedError(wait_s, no_answer(request_id, str(error)), fault=is_missing) from None
        stream = venue.streams(request.endpoint)
        fields = {"stream": True, "stream_options": {"include_usage": True}} if stream else _NOT_STREAMED
        body = await decoding.run(partial(calls.with_fields, **fields), body)
        try:
            reply = await venue.upstream.send(
                Call(
                    path=request.endpoint,
                    body=body,
                    stream=stream,
                    model=request.model,
                    tokens=request.input_tokens + request.output_tokens,
                    deferrable=True,
                )
            )
        except UnsupportedError as error:
            return unsupported_answer(request_id, error, code=None)
        except UnavailableError as error:
            # A pause may end early, when another request finds that the venue is back; asking it costs nothing.
            pause_s = None if error.retry_after_s is None else min(error.retry_after_s, _MAX_PAUSE_S)
            self._mark_unavailable(venue, pause_s)
            raise AttemptFailedError(pause_s, no_answer(request_id, error.what), fault=False) from None
        except UpstreamError as error:
            raise AttemptFailedError(None, no_answer(request_id, error.what), fault=True) from None
        try:
            if stream and reply.status == 200:
                answer = await self._assemble(reply.body, venue, running)
                await decoding.run(check_answer, request.endpoint, answer, venue.name)
            else:
                answer = await reply.read()
        except UpstreamError as error:
            raise AttemptFailedError(None, no_answer(request_id, error.what), fault=True) from None
        finally:
            await reply.close()
        if reply.status == 200:
            usage = await decoding.run(measured_usage, answer, Asked.of(body, request.output_tokens))
            return build_answer(request_id, 200, answer, venue, usage)
        problem = await decoding.run(normalized_error, answer, reply.status)
        error_answer = build_answer(request_id, reply.status, problem, venue, Usage())
        if retry.is_transient(reply.status):
            retry_after_s = retry.retry_after_s(reply.headers, utc(context.now_s()))
            raise AttemptFailedError(retry_after_s, error_answer, fault=retry.is_fault(reply.status))
        return error_answer

    async def _assemble(self, parts: AsyncIterator[bytes], venue: Venue, running: RunningRequest) -> bytes:
        """Return a streamed answer as a whole; count its tokens while they arrive."""
        assembler = AnswerAssembler(venue.name)

        async def counted() -> AsyncIterator[bytes]:
            async for part in parts:
                yield part
                if running.tokens == 0 and assembler.tokens:
                    self._prefilled()
                running.tokens = assembler.tokens

        return await assembler.read(counted())

    async def _body(self, request: ClaimedRequest) -> bytes:
        if request.body is not None:
            return request.body
        blob = await self._blob(request.batch_seq or 0)
        (body,) = await self._context.blobs.parts(blob, [(request.body_at or 0, request.body_bytes)])
        return body

    async def _blob(self, batch_seq: int) -> str:
        blob = self._blobs.get(batch_seq)
        if blob is None:
            blob = await self._context.database.read(lambda connection: files.find_input_blob(connection, batch_seq))
            if blob is None:
                raise BlobMissingError("the input file is missing")
            if len(self._blobs) >= _MAX_CACHED_BLOBS:
                self._blobs.clear()
            self._blobs[batch_seq] = blob
        return blob


class CompletionRate:
    """Tokens completed per second over the last minute in which there was work to do.

    Time without work, or in which all of it waits for its slot of the plan, says nothing of how fast it would be done.
    """

    def __init__(self) -> None:
        self._completed: deque[tuple[float, int]] = deque()
        self._tokens = 0
        self._last_rate = math.inf
        self._worked_s = self._seen_s = 0.0
        self._has_work = False

    def observe(self, now_s: float, *, has_work: bool) -> None:
        """Record whether there is work to do from now on."""
        self._worked_s, self._seen_s, self._has_work = self._clock(now_s), now_s, has_work

    def add(self, now_s: float, tokens: int) -> None:
        """Record the tokens of an answer."""
        self._completed.append((self._clock(now_s), tokens))
        self._tokens += tokens
        self._forget(now_s)

    def tokens_per_s(self, now_s: float) -> float:
        """Return the rate; the last known one while nothing completes, and infinity until one is known."""
        self._forget(now_s)
        if len(self._completed) >= 2:
            span_s = max(1.0, self._clock(now_s) - self._completed[0][0])
            self._last_rate = self._tokens / span_s
        return self._last_rate

    def _clock(self, now_s: float) -> float:
        """Return the time for which there has been work."""
        return self._worked_s + (now_s - self._seen_s if self._has_work else 0.0)

    def _forget(self, now_s: float) -> None:
        while self._completed and self._completed[0][0] < self._clock(now_s) - _RATE_WINDOW_S:
            self._tokens -= self._completed.popleft()[1]


def build_answer(request_id: str, status: int, body: bytes, venue: Venue, usage: Usage) -> RequestAnswer:
    """Return a venue's answer with its usage."""
    return RequestAnswer(
        request_id=request_id,
        status_code=status,
        body=body,
        venue=venue.name,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        counted=usage.counted,
    )


def unsupported_answer(request_id: str, error: UnsupportedError, *, code: str | None) -> RequestAnswer:
    """Return the answer to a request that the venue's API cannot express."""
    problem = {"message": error.what, "type": "invalid_request_error", "param": error.param, "code": code}
    return RequestAnswer(
        request_id=request_id, status_code=400, body=msgspec.json.encode({"error": problem}), venue=error.venue
    )


def no_answer(request_id: str, what: str) -> RequestAnswer:
    """Return what is stored for a request that got no answer."""
    return RequestAnswer(request_id=request_id, status_code=None, error_code="upstream_error", error_message=what)


def gateway_failed(request_id: str) -> RequestAnswer:
    """Return what is stored for a request at which the gateway itself failed."""
    return RequestAnswer(request_id=request_id, status_code=500, body=internal_error().body())


def billed_usage(answer: RequestAnswer) -> Usage:
    """Return the tokens of an answer that cost money."""
    return Usage(
        input_tokens=answer.input_tokens, cached_tokens=answer.cached_tokens, output_tokens=answer.output_tokens
    )
