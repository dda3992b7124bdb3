"""Background responses, followed as a stream of events: what is made is made, whoever has gone."""

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

_LOOK_S: Final = 1.0  # another gateway that shares the store may be the one that makes it


class Following:
    """Follows responses until they are over.

    Args:
        context: What is shared.
        dispatcher: Who makes them, and tells when they are there.
    """

    def __init__(self, context: Context, dispatcher: Dispatcher) -> None:
        self._context = context
        self._dispatcher = dispatcher

    async def events(self, item: StoredAnswer, *, after: int = -1) -> AsyncIterator[bytes]:
        """Yield the events of a response, as they come.

        Args:
            item: The response as it is kept.
            after: The number of the last event that was seen.
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
        """Wait until a response is over, and return it; None if it was deleted."""
        now: StoredAnswer | None = item
        while now is not None and now.status == "queued" and now.request_seq is not None:
            answer = self._dispatcher.wait_for(now.request_seq)
            await asyncio.wait((answer,), timeout=_LOOK_S)
            with contextlib.suppress(StoreUnavailableError):
                now = await self._context.database.read_soon(
                    lambda connection: stored_answers.get(connection, item.tenant, RESPONSE, item.id)
                )
        if item.request_seq is not None:
            self._dispatcher.stop_waiting(item.request_seq)
        return now
