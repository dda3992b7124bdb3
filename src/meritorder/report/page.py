"""What all pages of reports share: their templates, and how numbers are written in them."""

from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from meritorder.report.metrics import or_missing, times
from meritorder.units import format_duration, format_share, format_usd


def environment() -> Environment:
    """Return the templates, with what they write numbers by; all text of the user's is escaped."""
    templates = Environment(
        loader=PackageLoader("meritorder.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "duration": lambda seconds: or_missing(seconds, format_duration),
        "share": lambda share: or_missing(share, format_share),
        "usd": lambda usd: or_missing(usd, format_usd),
        "count": lambda number: or_missing(number, lambda n: f"{n:,}"),
        "times": times,
        "spaced": lambda name: name.replace("_", " "),
        "web": _is_web,
        "host": lambda address: urlsplit(address).netloc.removeprefix("www."),
    }
    return templates


def _is_web(source: str) -> bool:
    """Say whether a source is an address that may be linked to."""
    try:
        address = urlsplit(source)
    except ValueError:
        return False
    return address.scheme in {"http", "https"} and bool(address.netloc)
