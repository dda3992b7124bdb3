"""Sources that are addresses of the web, or name one, told from those that do not."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_NAMED: Final = re.compile(r"<(https?://[^<>\s]+)>\s*$")


def web_address(source: str) -> SplitResult | None:
    """Return the address that a source is, or names at its end as `<https://...>`; None if there is none to link to."""
    named = _NAMED.search(source)
    try:
        address = urlsplit(named[1] if named else source)
    except ValueError:
        return None
    return address if address.scheme in {"http", "https"} and address.hostname else None


def host(address: SplitResult) -> str:
    """Return the name under which people know an address."""
    return (address.hostname or "").removeprefix("www.")
