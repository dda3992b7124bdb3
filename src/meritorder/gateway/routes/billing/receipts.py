"""Receipts: what a finished batch, or a request outside batches, cost."""

import contextlib
import logging
from collections.abc import Iterator
from functools import partial
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meritorder import documents
from meritorder.errors import ConfigError
from meritorder.gateway import decoding
from meritorder.gateway.routes.answering import caller, json_response, whole_body
from meritorder.gateway.state.context import Context
from meritorder.gateway.store.billing.subjects import Subject
from meritorder.gateway.store.queue import batches
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.errors import ApiError, invalid_request
from meritorder.gateway.workers.receipts import Receipts
from meritorder.records.receipts import Signature

_RETRY_S: Final = 2
_log: Final = logging.getLogger(__name__)


class _Signed(msgspec.Struct):
    """A signed receipt, whose receipt is as it was written."""

    receipt: msgspec.Raw
    signature: Signature


class ReceiptRoutes:
    """The routes of receipts."""

    def __init__(self, context: Context, receipts: Receipts) -> None:
        self._context = context
        self._receipts = receipts

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/batches/{batch_id}/receipt", self.of_batch, methods=["GET"]),
            Route("/v1/requests/{request_id}/receipt", self.of_request, methods=["GET"]),
            Route("/v1/receipts/verify", self.verify, methods=["POST"]),
        ]

    async def of_batch(self, request: Request) -> Response:
        """Return the signed receipt of a finished batch; until there is one, 202 and what is promised."""
        key, batch_id = await caller(self._context, request), request.path_params["batch_id"]
        get = partial(batches.get, tenant=key.tenant, batch_id=batch_id)
        batch = await self._context.database.read_soon(get)
        if batch is None:
            raise ApiError(404, f"No batch found with id '{batch_id}'.", param="id")
        return await self._answer(Subject.of_batch(batch))

    async def of_request(self, request: Request) -> Response:
        """Return the signed receipt of a request outside batches that has ended; 202 until what it ran on is known."""
        key, request_id = await caller(self._context, request), request.path_params["request_id"]
        subject = await self._receipts.find_request(key.tenant, request_id)
        if subject is not None:
            return await self._answer(subject)
        stored = await self._receipts.stored(key.tenant, request_id)
        if stored is None:
            what = f"No request outside batches that has ended was found with id '{request_id}'."
            raise ApiError(404, what, param="id")
        return Response(stored, media_type="application/json")

    async def verify(self, request: Request) -> Response:
        """Return whether a receipt was signed by this gateway and not changed since."""
        await caller(self._context, request)
        body = await whole_body(self._context, request)
        try:
            signed = await decoding.run(_signed, body)
            with _signing():
                fault = self._receipts.signer.fault(bytes(signed.receipt), signed.signature)
        except ValueError as error:
            raise invalid_request(f"This is not a receipt: {error}.", code="invalid_receipt") from None
        return json_response({"object": "receipt.verification", "valid": not fault, "reason": fault or None})

    async def _answer(self, subject: Subject) -> Response:
        with _signing():
            receipt = await self._receipts.of(subject)
        if receipt is None:
            pending = documents.encode(await self._receipts.pending(subject))
            headers = {"retry-after": str(_RETRY_S)}
            return Response(pending, 202, media_type="application/json", headers=headers)
        return Response(receipt, media_type="application/json")


@contextlib.contextmanager
def _signing() -> Iterator[None]:
    """Answer 503 if the key of receipts cannot be used."""
    try:
        yield
    except ConfigError as error:
        _log.error("receipts cannot be signed: %s", error)
        raise ApiError(503, "Receipts cannot be signed now.", code="receipt_key_unusable") from None


def _signed(body: bytes) -> _Signed:
    checks.json_object(body)
    return msgspec.json.decode(body, type=_Signed)
