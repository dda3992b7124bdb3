"""Asks a venue for the answer to a request that waited."""

from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from meritorder.gateway.errors import StoreUnavailableError, UnavailableError, UnsupportedError, UpstreamError
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files
from meritorder.gateway.store.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.upstreams import retry
from meritorder.gateway.upstreams.upstream import Call
from meritorder.gateway.venues.headroom import Headroom
from meritorder.gateway.venues.venues import RunningRequest, Venue
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.assemble import AnswerAssembler
from meritorder.gateway.wire.errors import normalized_error
from meritorder.gateway.wire.usage import Usage, parse_usage
from meritorder.units import utc

_STORE_AGAIN_S: Final = 0.5
_BLOBS_KNOWN: Final = 1000


class Refused(Exception):  # noqa: N818 - this attempt; the request goes back into the queue
    """A venue did not answer, or not now.

    Args:
        wait_s: When it is worth asking again; None if nobody said.
        given: The answer, if there are to be no more attempts.
        fault: Whether the attempt counts as one.
    """

    def __init__(self, wait_s: float | None, given: RequestAnswer, *, fault: bool) -> None:
        super().__init__(given.error_message)
        self.wait_s, self.given, self.fault = wait_s, given, fault


class Attempts:
    """Asks venues.

    Args:
        context: What is shared.
        headroom: Told of venues that take nothing.
        begun: Told of each first token: the engine has read a prompt, and may be given the next.
    """

    def __init__(self, context: Context, headroom: Headroom, begun: Callable[[], None]) -> None:
        self._context = context
        self._headroom = headroom
        self._begun = begun
        self._blobs: dict[int, str] = {}

    async def ask(self, request: ClaimedRequest, venue: Venue, seat: RunningRequest) -> RequestAnswer:
        """Send a request to a venue, and return what came of it.

        Raises:
            Refused: Not now, or not here.
        """
        context = self._context
        request_id = context.new_id("req_")
        try:
            body = await self._body(request)
        except StoreUnavailableError as error:
            raise Refused(_STORE_AGAIN_S, no_answer(request_id, str(error)), fault=False) from None
        stream = venue.streams(request.endpoint)
        body = _streamed(body) if stream else calls.with_fields(body, stream=None, stream_options=None)
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
            problem = {
                "error": {"message": error.what, "type": "invalid_request_error", "param": error.param, "code": None}
            }
            return RequestAnswer(
                request_id=request_id, status_code=400, body=msgspec.json.encode(problem), venue=venue.name
            )
        except UnavailableError as error:
            self._headroom.mark_unavailable(venue, error.retry_after_s)
            raise Refused(error.retry_after_s, no_answer(request_id, error.what), fault=False) from None
        except UpstreamError as error:
            raise Refused(None, no_answer(request_id, error.what), fault=True) from None
        try:
            if stream and reply.status == 200:
                answer = await self._assembled(reply.body, venue, seat)
            else:
                answer = await reply.read()
        except UpstreamError as error:
            raise Refused(None, no_answer(request_id, error.what), fault=True) from None
        finally:
            await reply.close()
        return self._judged(
            request_id, reply.status, answer, venue, retry.retry_after_s(reply.headers, utc(context.now_s()))
        )

    async def _assembled(self, chunks: AsyncIterator[bytes], venue: Venue, seat: RunningRequest) -> bytes:
        assembly = AnswerAssembler(venue.name)

        async def watched() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                yield chunk
                if seat.tokens == 0 and assembly.tokens:
                    self._begun()
                seat.tokens = assembly.tokens

        return await assembly.read(watched())

    def _judged(self, request_id: str, status: int, body: bytes, venue: Venue, after_s: float | None) -> RequestAnswer:
        used = parse_usage(body) or Usage()
        if status >= 400:
            body = normalized_error(body)
        given = RequestAnswer(
            request_id=request_id,
            status_code=status,
            body=body,
            venue=venue.name,
            input_tokens=used.input_tokens,
            cached_tokens=used.cached_tokens,
            output_tokens=used.output_tokens,
            reasoning_tokens=used.reasoning_tokens,
        )
        if retry.passes(status):
            raise Refused(after_s, given, fault=retry.is_fault(status))
        if 200 <= status < 300 and not calls.is_json(body):
            raise Refused(None, no_answer(request_id, "the answer is not JSON"), fault=True)
        return given

    async def _body(self, request: ClaimedRequest) -> bytes:
        if request.body is not None:
            return request.body
        blob = await self._blob(request.batch_seq or 0)
        (body,) = await self._context.blobs.parts(blob, [(request.body_at or 0, request.body_bytes)])
        return body

    async def _blob(self, batch_seq: int) -> str:
        blob = self._blobs.get(batch_seq)
        if blob is None:
            blob = await self._context.database.read(lambda connection: files.blob_of_batch(connection, batch_seq))
            if blob is None:
                raise StoreUnavailableError("the input file is not there")
            if len(self._blobs) >= _BLOBS_KNOWN:
                self._blobs.clear()
            self._blobs[batch_seq] = blob
        return blob


def _streamed(body: bytes) -> bytes:
    return calls.with_fields(body, stream=True, stream_options={"include_usage": True})


def no_answer(request_id: str, what: str) -> RequestAnswer:
    """Return what stands for the answer of a request that got none."""
    return RequestAnswer(request_id=request_id, status_code=None, error_code="upstream_error", error_message=what)
