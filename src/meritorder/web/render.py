"""Pages as HTML: their templates and their style sheet."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from meritorder.report.figures import DARK, LIGHT, css
from meritorder.units import format_duration, format_share, format_usd


def html(template: str, values: Mapping[str, object], status: int = 200) -> HTMLResponse:
    """Return a page rendered from a template; all text in the values is escaped."""
    return HTMLResponse(_environment().get_template(template).render(values), status)


@cache
def style_sheet() -> str:
    """Return the style sheet of all pages, with the colors of the reports in light and dark."""
    shared = (files("meritorder.report") / "templates" / "page.css").read_text(encoding="utf-8")
    own = (files("meritorder.web") / "templates" / "app.css").read_text(encoding="utf-8")
    return (
        f":root {{ {css(LIGHT)} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {css(DARK)} }} }}\n{shared}\n{own}"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("meritorder.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"usd": format_usd, "share": format_share, "duration": format_duration}
    return environment
