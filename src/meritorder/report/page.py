"""HTML pages: one file each, which works offline."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

import altair as alt
from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from meritorder.records.comparison import Waterfall
from meritorder.report.figures import DARK, LIGHT, css
from meritorder.report.waterfall import waterfall_cells, waterfall_title
from meritorder.report.wording import headline, host, or_missing, price_unit, spaced, times, web_address
from meritorder.units import format_duration, format_share, format_usd

TEMPLATES: Final = "meritorder.report"
"""The package of the templates."""
_CODE: Final = re.compile("`([^`]+)`")


def fill(template: str, charts: Mapping[str, alt.LayerChart] | None, **values: object) -> str:
    """Return a page rendered from a template; all text in the values is escaped.

    Args:
        template: Name of a template that extends `base.html.j2`.
        charts: Figures by the name of their place in the page; None for a page without scripts.
        values: The variables of the template.
    """
    return (
        environment(PackageLoader(TEMPLATES))
        .get_template(template)
        .render(
            charts=None if charts is None else {name: chart.to_dict() for name, chart in charts.items()},
            bundle=Markup(_bundle()) if charts is not None else "",  # noqa: S704 (scripts that we ship; they hold no closing tag)
            light=css(LIGHT),
            dark=css(DARK),
            **values,
        )
    )


def waterfall_view(fall: Waterfall) -> dict[str, Any]:
    """Return the text beside a waterfall whose `start` and `end` are titles."""
    return {
        "title": waterfall_title(fall),
        "explained": any(part.why for part in fall.parts),
        "parts": list(zip(fall.parts, waterfall_cells(fall)[1:-1], strict=True)),
    }


def environment(loader: BaseLoader) -> Environment:
    """Return the environment of templates: all text is escaped, and what is not defined is an error."""
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {
        "duration": lambda seconds: or_missing(seconds, format_duration),
        "share": lambda share: or_missing(share, format_share),
        "usd": lambda usd: or_missing(usd, format_usd),
        "count": lambda number: or_missing(number, lambda n: f"{n:,}"),
        "times": times,
        "headline": headline,
        "code": _code,
        "spaced": spaced,
        "unit": price_unit,
        "web": web_address,
        "host": host,
    }
    return templates


def _code(text: str) -> Markup:
    """Mark what stands between backticks as code; all of it is escaped."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped)


@cache
def _bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed, each after what it needs, as one script."""
    folder = files("meritorder.report") / "static"
    scripts = ("vega-6.4.0.min.js", "vega-lite-6.4.1.min.js", "vega-embed-7.3.0.min.js")
    return "\n".join((folder / script).read_text(encoding="utf-8") for script in scripts)
