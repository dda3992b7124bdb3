"""Streams of background responses, from their queueing to their last event."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import stored_answers
from meritorder.gateway.store.stored_answers import RESPONSE, StoredAnswer
from meritorder.gateway.wire.objects import response_object
from meritorder.gateway.wire.replay import encode_events, opening_events, output_events
from meritorder.gateway.workers.dispatch import Dispatcher

_POLL_S: Final = 1.0  # another gateway that shares the store may serve the request


class ResponseStreams:
    """Streams background responses as server-sent events; a disconnected client does not stop the response.

    Args:
        context: The shared state.
        dispatcher: Notifies of finished requests.
    """

    def __init__(self, context: Context, dispatcher: Dispatcher) -> None:
        self._context = context
        self._dispatcher = dispatcher

    async def events(self, item: StoredAnswer, *, after: int = -1) -> AsyncIterator[bytes]:
        """Yield the events of a response as they come.

        Args:
            item: The stored response.
            after: Sequence number of the last event that the client has received.
        """
        opening = encode_events(opening_events(response_object(item, item.status)))
        for event in opening[max(0, after + 1) :]:
            yield event
        finished = await self._finished(item)
        if finished is not None:
            rest = encode_events(output_events(response_object(finished, finished.status)), len(opening))
            for event in rest[max(0, after + 1 - len(opening)) :]:
                yield event

    async def _finished(self, item: StoredAnswer) -> StoredAnswer | None:
        """Wait until a response has finished, and return it; None if it was deleted."""
        current: StoredAnswer | None = item
        while current is not None and current.status == "queued" and current.request_seq is not None:
            answer = self._dispatcher.wait_for(current.request_seq)
            await asyncio.wait((answer,), timeout=_POLL_S)
            with contextlib.suppress(StoreUnavailableError):
                current = await self._context.database.read_soon(
                    lambda connection: stored_answers.get(connection, item.tenant, RESPONSE, item.id)
                )
        if item.request_seq is not None:
            self._dispatcher.stop_waiting(item.request_seq)
        return current
