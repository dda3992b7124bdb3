"""Pages as HTML: their templates and their style sheet."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from jinja2 import ChoiceLoader, Environment, PackageLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse

from meritorder.report.figures import DARK, LIGHT, css
from meritorder.report.page import TEMPLATES, environment

PAGES: Final = {
    "calculator": ("/", "Calculator"),
    "data": ("/data", "Your data"),
    "plan": ("/plan", "Plan"),
    "live": ("/live", "Live"),
    "batches": ("/batches", "Batches"),
    "ledger": ("/ledger", "Ledger"),
    "proof": ("/proof", "Proof"),
}
"""The address and the title of each page."""


def html(request: Request, template: str, values: Mapping[str, object], status: int = 200) -> HTMLResponse:
    """Return a page rendered from a template; all text in the values is escaped."""
    shared = {"pages": PAGES.values(), "path": request.url.path, "viewer": getattr(request.state, "viewer", None)}
    return HTMLResponse(fragment(template, shared | dict(values)), status, {"cache-control": "no-store"})


def fragment(template: str, values: Mapping[str, object]) -> str:
    """Return a part of a page that is the same for all its viewers."""
    return _environment().get_template(template).render(values)


@cache
def style_sheet() -> str:
    """Return the style sheet of all pages, with the colors of the reports in light and dark."""
    sheets = (("meritorder.report", "page.css"), ("meritorder.report", "proof.css"), ("meritorder.web", "app.css"))
    texts = [(files(package) / "templates" / name).read_text(encoding="utf-8") for package, name in sheets]
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {css(DARK)} }} }}"
    print_light = f"@media print {{ :root {{ {css(LIGHT)} --paper: #fff; }} }}"
    return "\n".join([f":root {{ {css(LIGHT)} }}", dark, print_light, *texts])


@cache
def _environment() -> Environment:
    return environment(ChoiceLoader([PackageLoader("meritorder.web"), PackageLoader(TEMPLATES)]))
