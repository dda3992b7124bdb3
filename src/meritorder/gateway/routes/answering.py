"""Functions that the routes of the control plane share: callers, bodies, responses and pages."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from meritorder.gateway import decoding
from meritorder.gateway.errors import UnknownCursorError
from meritorder.gateway.state.context import Context
from meritorder.gateway.store.keys import Key
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.asgi import joined, too_large
from meritorder.gateway.wire.errors import ApiError
from meritorder.gateway.wire.objects import Page, list_object

DEFAULT_PAGE: Final = 20
MAX_PAGE: Final = 100


def json_response(content: Any, status: int = 200) -> Response:  # noqa: ANN401 - JSON
    """Return a JSON response."""
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json")


async def caller(context: Context, request: Request) -> Key:
    """Return the key of a request.

    Raises:
        ApiError: The request has no valid key.
    """
    header = request.headers.get("authorization")
    authorization = None if header is None else header.encode("latin-1")
    return await context.authenticator.authenticate(authorization, request.method)


async def admin_caller(context: Context, request: Request) -> Key:
    """Return the admin key of a request.

    Raises:
        ApiError: The request has no valid key, or not one of an admin.
    """
    key = await caller(context, request)
    if not key.admin:
        raise ApiError(403, "This needs an admin key.", code="admin_key_required")
    return key


async def small_object(context: Context, request: Request) -> dict[str, Any]:
    """Return the JSON object in a request that only names and describes things.

    Raises:
        ApiError: The body is too large, or not a JSON object.
    """
    most = min(context.settings.limits.body_bytes, decoding.LARGE_BYTES)
    return checks.json_object(await _body(request, most))


async def whole_body(context: Context, request: Request) -> bytes:
    """Return the body of a request.

    Raises:
        ApiError: The body is too large.
    """
    return await _body(request, context.settings.limits.body_bytes)


async def _body(request: Request, max_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise too_large(max_bytes)
    return await joined(parts)


def is_ascending(request: Request, default: str) -> bool:
    """Return whether the `order` of a list is ascending.

    Raises:
        ApiError: `order` is invalid.
    """
    return checks.choice("order", request.query_params.get("order", default), ("asc", "desc")) == "asc"


def page_object(items: Sequence[dict[str, Any]], request: Request, *, ascending: bool) -> Page[dict[str, Any]]:
    """Return the page of a list in memory that a request asks for.

    Raises:
        UnknownCursorError: No item has the id `after`.
    """
    items = items if ascending else items[::-1]
    after = request.query_params.get("after")
    if after:
        index = next((number for number, item in enumerate(items) if item.get("id") == after), None)
        if index is None:
            raise UnknownCursorError(after)
        items = items[index + 1 :]
    limit = checks.limit(request.query_params.get("limit"), default=DEFAULT_PAGE, maximum=MAX_PAGE)
    return list_object(items[:limit], has_more=len(items) > limit)
