"""How every route of the control plane answers."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from meritorder.gateway.state.context import Core
from meritorder.gateway.store.keys import Key
from meritorder.gateway.wire.problems import Problem


def json_response(content: Any, status: int = 200) -> Response:  # noqa: ANN401 - JSON
    """Answer with JSON."""
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json")


async def caller(core: Core, request: Request) -> Key:
    """Return the key of a request.

    Raises:
        Problem: It has none that is valid.
    """
    header = request.headers.get("authorization")
    return await core.keyring.whose(None if header is None else header.encode("latin-1"))


async def whole_body(core: Core, request: Request) -> bytes:
    """Return the body of a request, if it is not too large."""
    most = core.settings.limits.body_bytes
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Problem(413, f"The body is larger than {most:,} bytes.", code="request_too_large")
    return bytes(body)
