"""`/v1/quotes`: what a batch would cost and when it would end, before it is created."""

import asyncio
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meritorder import documents
from meritorder.gateway.routes.answering import caller, small_object
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files
from meritorder.gateway.store.billing import quotes
from meritorder.gateway.store.billing.quotes import StoredQuote
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.calls import ENDPOINTS
from meritorder.gateway.wire.errors import ApiError, invalid_request
from meritorder.gateway.workers.quoting import VALID_S, Quoting


class Quotes:
    """The routes of quotes."""

    def __init__(self, context: Context, quoting: Quoting) -> None:
        self._context = context
        self._quoting = quoting

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/quotes", self.create, methods=["POST"]),
            Route("/v1/quotes/{quote_id}", self.retrieve, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """Quote a batch of an uploaded file, for each patience."""
        context, key = self._context, await caller(self._context, request)
        fields = await small_object(self._context, request)
        file_id, endpoint = checks.text(fields, "input_file_id"), checks.text(fields, "endpoint")
        checks.choice("endpoint", endpoint, ENDPOINTS)
        now_s = context.now_s()
        get_file = partial(files.get, tenant=key.tenant, file_id=file_id, now_s=now_s)
        if await context.database.read_soon(get_file) is None:
            raise invalid_request(
                f"Invalid value: no file '{file_id}' was found.", param="input_file_id", code="invalid_value"
            )
        job = await asyncio.to_thread(self._quoting.read_job, key.tenant, file_id, endpoint)
        quote_id = context.new_id("quote_")
        quote = await self._quoting.quote(job, quote_id=quote_id, input_file_id=file_id, endpoint=endpoint)
        stored = StoredQuote(
            id=quote_id,
            tenant=key.tenant,
            input_file_id=file_id,
            body=documents.encode(quote),
            created_s=now_s,
            valid_until_s=now_s + VALID_S,
        )
        await context.database.write_soon(partial(quotes.add, quote=stored))
        return Response(stored.body, media_type="application/json")

    async def retrieve(self, request: Request) -> Response:
        """Return a quote."""
        key, quote_id = await caller(self._context, request), request.path_params["quote_id"]
        get = partial(quotes.get, tenant=key.tenant, quote_id=quote_id)
        quote = await self._context.database.read_soon(get)
        if quote is None:
            raise ApiError(404, f"No quote found with id '{quote_id}'.", param="id")
        return Response(quote.body, media_type="application/json")
