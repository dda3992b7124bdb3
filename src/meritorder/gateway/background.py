"""Background responses: queued durably, answered at once with their id."""

from sqlalchemy import Connection

from meritorder.gateway.asgi import Send, respond
from meritorder.gateway.core import Core
from meritorder.gateway.held import Held
from meritorder.gateway.lanes import Deferral
from meritorder.gateway.release import Release
from meritorder.gateway.request import Request
from meritorder.gateway.routes.responses import response_object
from meritorder.gateway.store import kept, waiting
from meritorder.gateway.store.kept import RESPONSE, Kept
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.problems import invalid


class Background:
    """Takes background responses.

    Args:
        core: What is shared.
        held: Makes rows of the queue.
        release: Who runs them.
    """

    def __init__(self, core: Core, held: Held, release: Release) -> None:
        self._core = core
        self._held = held
        self._release = release

    async def take(self, request: Request, deferral: Deferral, send: Send) -> None:
        """Queue a response, and answer with it as it is now.

        Raises:
            Problem: It is no response, or asks not to be stored.
        """
        if request.endpoint != "/v1/responses":
            raise invalid("Only responses run in the background.", param="background", code="unsupported_parameter")
        if request.call.store is False:
            raise invalid("A background response must be stored.", param="store", code="invalid_value")
        item = Kept(
            id=self._core.new_id("resp_"),
            kind=RESPONSE,
            tenant=request.key.tenant,
            model=request.call.model,
            status="queued",
            request=request.body,
            created_s=request.arrived_s,
        )
        body = calls.with_fields(request.body, background=None, background_options=None, stream=None)
        fields = self._held.fields(request, deferral) | {"body": body, "body_bytes": len(body), "id": item.id}

        def change(connection: Connection) -> None:
            seq = waiting.add_alone(connection, **fields)
            kept.add(connection, item, request_seq=seq)

        await self._core.database.write_soon(change)
        self._release.wake()
        headers = [(b"content-type", b"application/json"), (b"x-request-id", request.id.encode())]
        await respond(send, 200, headers, calls.encode(response_object(item, "queued")))
