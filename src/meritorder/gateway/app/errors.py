"""The answer that a client gets for each exception."""

from collections.abc import Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route

from meritorder.gateway.errors import DecodingError, StoreUnavailableError, UnknownCursorError
from meritorder.gateway.wire.asgi import Scope
from meritorder.gateway.wire.errors import ApiError, invalid_request, unavailable

_STORE_RETRY_S: Final = 5
_RESTART_S: Final = 5
_DECODING_RETRY_S: Final = 1


def api_error(error: BaseException, scope: Scope, routes: Sequence[BaseRoute]) -> ApiError | None:
    """Return the answer to a request that raised an exception; None if the exception is a bug of ours."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, StoreUnavailableError):
        return unavailable("The store of this gateway is unavailable.", retry_after_s=_STORE_RETRY_S)
    if isinstance(error, DecodingError):
        return unavailable("The body could not be decoded now.", retry_after_s=_DECODING_RETRY_S)
    if isinstance(error, UnknownCursorError):
        return invalid_request(f"No such object: {error.after!r}.", param="after")
    if isinstance(error, HTTPException):
        return _http_error(error, scope, routes)
    return None


def stopping() -> ApiError:
    """Return the answer to a request that the gateway could not finish before it stops."""
    return unavailable("The gateway is stopping. Please send the request again.", retry_after_s=_RESTART_S)


def _http_error(error: HTTPException, scope: Scope, routes: Sequence[BaseRoute]) -> ApiError:
    method, path = scope["method"], scope["path"]
    if error.status_code == 404:
        return ApiError(404, f"Invalid URL ({method} {path})")
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods(scope, routes)))
        message = f"Not allowed to {method} on {path}."
        return ApiError(405, message, code="method_not_supported", headers=(("allow", allowed),))
    return ApiError(error.status_code, error.detail)


def _methods(scope: Scope, routes: Sequence[BaseRoute]) -> set[str]:
    """Return the methods of a path: those of all routes that are written as the first that matches it."""
    matching = [route for route in routes if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE]
    return {method for route in matching if route.path == matching[0].path for method in route.methods or ()}
