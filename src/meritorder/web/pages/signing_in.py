"""Signing in with an API key, and signing out."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from meritorder.errors import MeritorderError
from meritorder.web.access import COOKIE, Access, own_path
from meritorder.web.render import html

_SEE_OTHER = 303
_TEMPLATE = "sign_in.html.j2"


async def show_form(request: Request) -> Response:
    """Return the form."""
    return html(request, _TEMPLATE, {"next": own_path(request.query_params.get("next")), "error": None})


async def sign_in(request: Request) -> Response:
    """Begin a session with the key in the form."""
    access: Access = request.app.state.access
    async with request.form(max_files=0, max_fields=3) as form:
        key, path = str(form.get("key", "")).strip(), own_path(form.get("next"))
    if not key.isascii() or not key.isprintable():
        return html(request, _TEMPLATE, {"next": path, "error": "This is no API key."}, 422)
    try:
        session = await access.sign_in(key)
    except MeritorderError as error:
        return html(request, _TEMPLATE, {"next": path, "error": str(error)}, 422)
    response = RedirectResponse(path, _SEE_OTHER)
    is_secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    response.set_cookie(COOKIE, session, httponly=True, samesite="lax", secure=is_secure)
    return response


async def sign_out(request: Request) -> Response:
    """End the session."""
    access: Access = request.app.state.access
    access.sign_out(request)
    response = RedirectResponse("/", _SEE_OTHER)
    response.delete_cookie(COOKIE)
    return response
