"""Who looks at the pages, and what they may see and change: signing in with an API key of the gateway."""

import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from meritorder.errors import ConfigError, MeritorderError
from meritorder.gateway.app.client import GatewayClient, KeyRefusedError
from meritorder.web.gateway import Gateway

COOKIE: Final = "meritorder-session"
SIGN_IN: Final = "/sign-in"
_SESSION_S: Final = 12 * 3600.0
_SESSIONS: Final = 1000
_TRUSTED_S: Final = 5.0  # for which a key that was valid is not checked again
_TOKEN_BYTES: Final = 32
_MAX_FIELDS: Final = 16
_SEE_OTHER: Final = 303
_ANYONE: Final = "anyone"  # the id of callers of a gateway that needs no keys

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """A person at the pages.

    Args:
        key: Their API key; empty without one.
        name: Its name; empty if they did not sign in.
        tenant: Its tenant.
        is_admin: Whether they see the work of all tenants.
        is_read_only: Whether they may change nothing.
        token: What their forms send back, so that no other site can send them.
        is_signed_in: Whether they can sign out.
    """

    key: str = ""
    name: str = ""
    tenant: str = ""
    is_admin: bool = False
    is_read_only: bool = False
    token: str
    is_signed_in: bool = False


@dataclass(slots=True)
class _Session:
    viewer: Viewer
    since_s: float
    checked_s: float


@dataclass(slots=True, kw_only=True)
class Access:
    """The sessions, and the pages that need none.

    Args:
        gateway: The gateway that knows the keys; None if the pages show none, and need none.
        own_key: The key of everybody who reaches the pages without a session; None for none.
        public: Names of pages that everybody may see.
    """

    gateway: Gateway | None = None
    own_key: str | None = None
    public: Collection[str] = ()
    _token: str = field(default_factory=lambda: secrets.token_urlsafe(_TOKEN_BYTES))
    _own: _Session | None = None
    _sessions: dict[str, _Session] = field(default_factory=dict)

    async def viewer(self, request: Request) -> Viewer | None:
        """Return who looks; None if they have to sign in."""
        if self.gateway is None:
            return Viewer(token=self._token)
        name = request.cookies.get(COOKIE, "")
        session = self._sessions.get(name)
        if session is not None:
            if time.monotonic() - session.since_s < _SESSION_S and await self._is_valid(session):
                return session.viewer
            self._sessions.pop(name, None)
        if self.own_key is None:
            return None
        if self._own is None:
            unknown = Viewer(key=self.own_key, token=self._token)
            self._own = _Session(unknown, time.monotonic(), float("-inf"))
        return self._own.viewer if await self._is_valid(self._own) else None

    def anybody(self) -> Viewer:
        """Return a viewer of public pages."""
        return Viewer(token=self._token)

    async def sign_in(self, key: str) -> str:
        """Begin a session and return its name.

        Raises:
            ConfigError: The gateway does not know the key, or cannot be reached.
        """
        now_s = time.monotonic()
        viewer = await self._identify(Viewer(key=key, token=secrets.token_urlsafe(_TOKEN_BYTES), is_signed_in=True))
        name = secrets.token_urlsafe(_TOKEN_BYTES)
        self._sessions[name] = _Session(viewer, now_s, now_s)
        while len(self._sessions) > _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return name

    def sign_out(self, request: Request) -> None:
        """End a session."""
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)

    async def _is_valid(self, session: _Session) -> bool:
        """Return whether the key of a session is still valid; yes while the gateway cannot be asked."""
        now_s = time.monotonic()
        if now_s - session.checked_s < _TRUSTED_S:
            return True
        try:
            session.viewer = await self._identify(session.viewer)
            session.checked_s = now_s
        except KeyRefusedError:
            return False
        except MeritorderError:
            return True
        return True

    async def _identify(self, viewer: Viewer) -> Viewer:
        assert self.gateway is not None  # noqa: S101 - only a gateway has sessions
        known = await self.gateway.ask(viewer.key, GatewayClient.key)
        try:
            identified = replace(
                viewer,
                name=known["name"],
                tenant=known["tenant"],
                is_admin=known["admin"],
                is_read_only=known["read_only"],
            )
        except (KeyError, TypeError):
            raise ConfigError("does not answer as a gateway of this version", where=self.gateway.url) from None
        if self.own_key is None and known["id"] == _ANYONE:
            raise KeyRefusedError("needs no keys, so that it cannot know you", where=self.gateway.url)
        return identified


def guarded(page: str, endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that only those answers who may see its page, and changes nothing for others.

    Args:
        page: Name of the page.
        endpoint: Answers a request; `request.state.viewer` is the viewer.
    """

    async def answer(request: Request) -> Response:
        access: Access = request.app.state.access
        viewer = await access.viewer(request)
        if viewer is None and page not in access.public:
            return _refuse(request)
        request.state.viewer = viewer = viewer or access.anybody()
        if request.method == "POST":
            if viewer.is_read_only:
                return _show_refusal(request, "This key is read-only: it can look, but change nothing.")
            form = await request.form(max_files=1, max_fields=_MAX_FIELDS)
            if not hmac.compare_digest(str(form.get("token", "")).encode(), viewer.token.encode()):
                return _show_refusal(request, "This form is out of date. Load the page again, and send it once more.")
        return await endpoint(request)

    return answer


def _refuse(request: Request) -> Response:
    """Ask a person to sign in, and tell a program to."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{SIGN_IN}?next={quote(request.url.path + query)}", _SEE_OTHER)
    return JSONResponse({"error": {"message": f"Sign in at {SIGN_IN} first."}}, 401)


def _show_refusal(request: Request, message: str) -> Response:
    from meritorder.web.render import html  # noqa: PLC0415 - it names the viewer

    return html(request, "error.html.j2", {"status": 403, "message": message}, 403)


def own_path(text: Any) -> str:  # noqa: ANN401 - a field of a form
    """Return a path of these pages, or that of the first one if the text is an address elsewhere."""
    path = str(text or "/")
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_own else "/"
