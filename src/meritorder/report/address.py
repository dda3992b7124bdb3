"""Sources that are addresses of the web, told from those that are not."""

from urllib.parse import SplitResult, urlsplit


def web_address(source: str) -> SplitResult | None:
    """Return a source as an address that may be linked to; None if it is none."""
    try:
        address = urlsplit(source)
    except ValueError:
        return None
    return address if address.scheme in {"http", "https"} and address.hostname else None


def host(address: SplitResult) -> str:
    """Return the name under which people know an address."""
    return (address.hostname or "").removeprefix("www.")
