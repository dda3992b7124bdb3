"""What a browser may do with the pages, and who may ask for them."""

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Headers of every response: nothing is loaded from elsewhere, and no script or style stands in a page."""

REPORT_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
}
"""Headers of a report: a page that holds its scripts itself, and may not act as one of ours."""

MAX_BODY_BYTES: Final = 4 * 2**30
"""The largest upload: larger files are for the command line, which needs no copy of them."""
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_OWN_SITES: Final = frozenset({"same-origin", "none"})


class Secured:
    """Adds the security headers, and refuses what a page of another site asks for.

    Args:
        application: The application.
        hosts: Names that it may be addressed by, so that no other site can reach it under a name of its own; empty for
            any.
    """

    def __init__(self, application: ASGIApp, hosts: Sequence[str]) -> None:
        self._application = application
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        received_bytes = 0

        async def receive_limited() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > MAX_BODY_BYTES:
                raise HTTPException(413)
            return message

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        answer, refusal = self._application, self._refusal(scope["method"], headers)
        if refusal is not None:
            answer = PlainTextResponse(refusal, 403)
        elif int(headers.get("content-length", 0)) > MAX_BODY_BYTES:  # a number, as the server has checked
            answer = PlainTextResponse(f"More than {MAX_BODY_BYTES // 2**30} GiB: use the command line.\n", 413)
        await answer(scope, receive_limited, send_secured)

    def _refusal(self, method: str, headers: Headers) -> str | None:
        """Return why a request is refused; None if it is not."""
        host = _host(headers.get("host", ""))
        if self._hosts and host not in self._hosts:
            return f"This server is not {host!r}; open it under the address that it printed.\n"
        if method not in _SAFE_METHODS and headers.get("sec-fetch-site", "same-origin") not in _OWN_SITES:
            return "This was sent by a page of another site.\n"
        return None


def _host(authority: str) -> str:
    """Return the name in `name:port` or `[address]:port`."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0].lower()
