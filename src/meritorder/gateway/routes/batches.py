"""`/v1/batches`: create, list, retrieve and cancel as OpenAI; pause and resume."""

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meritorder.gateway.config import duration_s
from meritorder.gateway.routes.answering import DEFAULT_PAGE, MAX_PAGE, caller, json_response, small_object
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files
from meritorder.gateway.store.billing import quotes
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.queue import batches
from meritorder.gateway.store.queue.batches import Batch
from meritorder.gateway.store.quotas import budgets
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.calls import ENDPOINTS
from meritorder.gateway.wire.errors import ApiError, invalid_request
from meritorder.gateway.wire.objects import BatchObject, batch_object, list_object
from meritorder.gateway.workers.quoting import price_picousd
from meritorder.records.receipts import Quote
from meritorder.units import parse_duration_s

_COMPARED: Final = ("endpoint", "completion_window", "input_file_id", "metadata", "output_expires_after_s")


_QUOTE_HEADER: Final = "meritorder-quote"
_QUOTE_PREFIX: Final = "quote_"


class TakenQuote(NamedTuple):
    """The quote that a new batch uses, its price for the window of the batch, and whether the batch is charged that."""

    id: str
    picousd: int
    honored: bool


def _wrong_quote(what: str) -> ApiError:
    return invalid_request(f"Invalid value: {what}.", param="metadata.quote_id", code="invalid_quote")


def _add(connection: Connection, fields: dict[str, Any], quote: TakenQuote | None) -> Batch:
    """Add a batch, which uses a quote if one is given.

    Raises:
        ApiError: The quote is not valid any more, or another batch uses it.
    """
    batch = batches.add(connection, **fields)
    if quote is not None and not quotes.use(
        connection, quote.id, batch, quoted_picousd=quote.picousd, honored=quote.honored
    ):
        raise _wrong_quote(f"the quote '{quote.id}' has expired, or another batch uses it")
    return batch


def _batch_id(tenant: str, idempotency_key: str) -> str:
    """Return the id of the batch that a tenant's idempotency key creates."""
    return "batch_" + hashlib.sha256(f"{tenant}\0{idempotency_key}".encode()).hexdigest()[:32]


class Batches:
    """The routes of batches."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/batches", self.create, methods=["POST"]),
            Route("/v1/batches", self.list, methods=["GET"]),
            Route("/v1/batches/{batch_id}", self.retrieve, methods=["GET"]),
            Route("/v1/batches/{batch_id}/cancel", self.cancel, methods=["POST"]),
            Route("/v1/batches/{batch_id}/pause", self.pause, methods=["POST"]),
            Route("/v1/batches/{batch_id}/resume", self.resume, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Create a batch; its input is validated afterwards."""
        context, key = self._context, await caller(self._context, request)
        fields = await small_object(self._context, request)
        file_id, endpoint = checks.text(fields, "input_file_id"), checks.text(fields, "endpoint")
        window = checks.text(fields, "completion_window")
        checks.choice("endpoint", endpoint, ENDPOINTS)
        window_s = self._window_s(window)
        metadata = checks.metadata(fields.get("metadata"))
        lifetime_s = checks.lifetime_s(fields.get("output_expires_after"), "output_expires_after")
        idempotency_key = request.headers.get("idempotency-key")
        now_s = context.now_s()
        fields = {
            "id": context.new_id("batch_") if idempotency_key is None else _batch_id(key.tenant, idempotency_key),
            "tenant": key.tenant,
            "key_id": key.id,
            "endpoint": endpoint,
            "completion_window": window,
            "input_file_id": file_id,
            "metadata": metadata,
            "output_expires_after_s": lifetime_s,
            "trace": context.traceparent(),
            "created_s": now_s,
            "expires_s": now_s + window_s,
        }
        if idempotency_key is not None and (earlier := await self._created_before(fields)) is not None:
            return json_response(batch_object(earlier))
        await self._check_input(file_id, key)
        await context.quotas.check_spent(key)
        quote = await self._quote(request, fields, window_s)
        try:
            batch = await context.database.write_soon(partial(_add, fields=fields, quote=quote))
        except IntegrityError:  # the same key at the same moment
            if (earlier := await self._created_before(fields)) is None:
                raise
            batch = earlier
        return json_response(batch_object(batch))

    async def _quote(self, request: Request, fields: dict[str, Any], window_s: float) -> TakenQuote | None:
        """Return the quote that a new batch uses: by the header, or by `quote_id` in its metadata.

        Raises:
            ApiError: There is none of this id, or it is for something else.
        """
        named = json.loads(fields["metadata"] or "{}").get("quote_id", "")
        quote_id = request.headers.get(_QUOTE_HEADER) or (named if named.startswith(_QUOTE_PREFIX) else "")
        if not quote_id:
            return None
        get = partial(quotes.get, tenant=fields["tenant"], quote_id=quote_id)
        stored = await self._context.database.read_soon(get)
        if stored is None:
            raise _wrong_quote(f"no quote '{quote_id}' was found")
        quote = msgspec.json.decode(stored.body, type=Quote)
        if (quote.input_file_id, quote.endpoint) != (fields["input_file_id"], fields["endpoint"]):
            raise _wrong_quote(f"the quote '{quote_id}' is for the file '{quote.input_file_id}' at {quote.endpoint}")
        picousd = price_picousd(quote, window_s)
        if picousd is None:
            raise _wrong_quote(f"the quote '{quote_id}' has no price for a window of '{fields['completion_window']}'")
        return TakenQuote(quote_id, picousd, self._context.settings.lanes.honor_quotes)

    async def _created_before(self, fields: dict[str, Any]) -> Batch | None:
        """Return the batch that was created before with the same idempotency key.

        Raises:
            ApiError: It was created from another request.
        """
        batch = await self._context.database.read_soon(
            lambda connection: batches.get(connection, fields["tenant"], fields["id"])
        )
        if batch is not None and any(getattr(batch, name) != fields[name] for name in _COMPARED):
            message = f"This Idempotency-Key was used before, with other parameters, for {batch.id}."
            raise ApiError(422, message, code="idempotency_key_reused")
        return batch

    def _window_s(self, window: str) -> float:
        seconds = parse_duration_s(window)
        if not seconds:
            raise invalid_request(
                f"Invalid value: '{window}'. Write a duration such as '24h', '90m' or '2d'.",
                param="completion_window",
                code="invalid_value",
            )
        longest = self._context.settings.limits.longest_window
        if seconds > duration_s(longest):
            raise invalid_request(
                f"Invalid value: '{window}'. The longest window is '{longest}'.",
                param="completion_window",
                code="invalid_value",
            )
        return seconds

    async def _check_input(self, file_id: str, key: Key) -> None:
        now_s = self._context.now_s()
        file = await self._context.database.read_soon(
            lambda connection: files.get(connection, key.tenant, file_id, now_s=now_s)
        )
        if file is None:
            raise invalid_request(
                f"Invalid value: no file '{file_id}' was found.", param="input_file_id", code="invalid_value"
            )
        if file.purpose != "batch":
            raise invalid_request(
                f"Invalid value: the purpose of '{file_id}' is '{file.purpose}', it must be 'batch'.",
                param="input_file_id",
                code="invalid_file_purpose",
            )

    async def list(self, request: Request) -> Response:
        """List batches, newest first."""
        key, query = await caller(self._context, request), request.query_params
        limit = checks.limit(query.get("limit"), default=DEFAULT_PAGE, maximum=MAX_PAGE)
        page = await self._context.database.read_soon(
            lambda connection: batches.pages(connection, key.tenant, after=query.get("after"), limit=limit)
        )
        return json_response(list_object(await self._objects(page.items), has_more=page.has_more))

    async def retrieve(self, request: Request) -> Response:
        """Return a batch."""
        return json_response((await self._objects([await self._batch(request)]))[0])

    async def cancel(self, request: Request) -> Response:
        """Cancel a batch: running requests may finish, and answers are preserved."""
        batch, now_s = await self._batch(request), self._context.now_s()
        if batch.status != "cancelling":
            await self._change(batch, lambda connection: batches.cancel(connection, batch.seq, now_s=now_s), "cancel")
        return json_response(batch_object(await self._batch(request)))

    async def pause(self, request: Request) -> Response:
        """Pause a batch: no more requests are dispatched until it is resumed; its window keeps running."""
        batch, now_s = await self._batch(request), self._context.now_s()
        await self._change(batch, lambda connection: batches.pause(connection, batch.seq, paused_s=now_s), "pause")
        return json_response(batch_object(await self._batch(request)))

    async def resume(self, request: Request) -> Response:
        """Resume a paused batch."""
        batch = await self._batch(request)
        await self._change(batch, lambda connection: batches.pause(connection, batch.seq, paused_s=None), "resume")
        return json_response(batch_object(await self._batch(request)))

    async def _objects(self, items: Sequence[Batch]) -> Sequence[BatchObject]:
        """Return batches with the reasons why they are paused."""
        key_ids = {batch.key_id for batch in items if batch.status in batches.PAUSABLE and batch.key_id is not None}
        if not key_ids:
            return [batch_object(batch) for batch in items]
        now_s = self._context.now_s()
        by_key = await self._context.database.read_soon(
            lambda connection: budgets.states_by_key(connection, list(key_ids), now_s=now_s)
        )
        spent = {key_id: next((state for state in states if state.is_spent), None) for key_id, states in by_key.items()}
        return [batch_object(batch, spent.get(batch.key_id or "")) for batch in items]

    async def _change(self, batch: Batch, change: Any, action: str) -> None:  # noqa: ANN401 - a transition
        if not await self._context.database.write_soon(change):
            raise ApiError(409, f"Cannot {action} a batch with status '{batch.status}'.")

    async def _batch(self, request: Request) -> Batch:
        key, batch_id = await caller(self._context, request), request.path_params["batch_id"]
        batch = await self._context.database.read_soon(lambda connection: batches.get(connection, key.tenant, batch_id))
        if batch is None:
            raise ApiError(404, f"No batch found with id '{batch_id}'.", param="id")
        return batch
