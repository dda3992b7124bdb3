"""How every route of the control plane answers."""

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from meritorder.gateway.errors import UnknownCursorError
from meritorder.gateway.state.context import Context
from meritorder.gateway.store.keys import Key
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.errors import ApiError, invalid_request
from meritorder.gateway.wire.objects import list_object


def json_response(content: Any, status: int = 200) -> Response:  # noqa: ANN401 - JSON
    """Answer with JSON."""
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json")


async def caller(context: Context, request: Request) -> Key:
    """Return the key of a request.

    Raises:
        ApiError: It has none that is valid.
    """
    header = request.headers.get("authorization")
    return await context.authenticator.whose(None if header is None else header.encode("latin-1"))


async def whole_body(context: Context, request: Request) -> bytes:
    """Return the body of a request, if it is not too large."""
    most = context.settings.limits.body_bytes
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise ApiError(413, f"The body is larger than {most:,} bytes.", code="request_too_large")
    return bytes(body)


def order_of(request: Request, default: str) -> bool:
    """Return whether a list is to ascend.

    Raises:
        ApiError: `order` is neither of the two.
    """
    order = request.query_params.get("order", default)
    if order not in {"asc", "desc"}:
        raise invalid_request(
            f"Invalid value: '{order}'. Supported values are: 'asc' and 'desc'.", param="order", code="invalid_value"
        )
    return order == "asc"


def cut(items: Sequence[dict[str, Any]], request: Request, *, ascending: bool) -> dict[str, Any]:
    """Return the page of a list that a request asks for.

    Raises:
        UnknownCursorError: No item has the id `after`.
    """
    items = items if ascending else items[::-1]
    after = request.query_params.get("after")
    if after:
        at = next((number for number, item in enumerate(items) if item.get("id") == after), None)
        if at is None:
            raise UnknownCursorError(after)
        items = items[at + 1 :]
    limit = checks.limit(request.query_params.get("limit"), default=20, maximum=100)
    return list_object(items[:limit], has_more=len(items) > limit)
