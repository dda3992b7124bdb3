"""A file of a web server, bounded in size and time, from the host that was named and no other."""

import asyncio
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from meritorder.errors import InputError

if TYPE_CHECKING:
    import aiohttp

_MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_BLOCK_BYTES: Final = 1 << 16
_OK: Final = 200
_FIX: Final = "try again later, or name another place with --from"


def download(url: str, *, max_bytes: int, timeout_s: float) -> bytes:
    """Return the content of a file.

    Args:
        url: An address of http or https; a redirect to another host is not followed.
        max_bytes: Most that is read, after decompression.
        timeout_s: Longest time for all of it.

    Raises:
        InputError: It cannot be had whole, is larger, or takes longer.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise InputError("is no address of http or https", where=url, fix="write https://HOST/PATH, or a folder")
    return asyncio.run(_download(url, max_bytes, timeout_s))


async def _download(url: str, max_bytes: int, timeout_s: float) -> bytes:
    import aiohttp  # noqa: PLC0415  (slow to import, and needed for downloads only)

    began_s = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(30.0, timeout_s))
    try:
        async with asyncio.timeout(timeout_s), aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            return await _follow(session, url, max_bytes)
    except TimeoutError as error:
        waited_s = time.monotonic() - began_s
        raise InputError(f"did not answer in full within {waited_s:.0f} s", where=url, fix=_FIX) from error
    except aiohttp.ClientPayloadError as error:
        raise InputError("the transfer ended early", where=url, fix=_FIX) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = " ".join(str(error).partition("\n")[0].split())[:200] or type(error).__name__
        raise InputError(f"cannot be read ({reason})", where=url, fix=_FIX) from error


async def _follow(session: "aiohttp.ClientSession", url: str, max_bytes: int) -> bytes:
    place = url
    for _ in range(_MAX_REDIRECTS):
        async with session.get(place, allow_redirects=False) as answer:
            if answer.status not in _REDIRECTS:
                return await _read(answer, url, max_bytes)
            target = urljoin(place, answer.headers.get("Location", ""))
        old, new = urlsplit(place), urlsplit(target)
        if (new.scheme, new.netloc) != (old.scheme, old.netloc):
            raise InputError(f"redirects to another host, {new.netloc or target!r}", where=url, fix=_FIX)
        place = target
    raise InputError(f"redirects more than {_MAX_REDIRECTS} times", where=url, fix=_FIX)


async def _read(answer: "aiohttp.ClientResponse", url: str, max_bytes: int) -> bytes:
    if answer.status != _OK:
        raise InputError(
            f"cannot be read ({answer.status} {answer.reason or ''})".replace(" )", ")"), where=url, fix=_FIX
        )
    content = bytearray()
    async for block in answer.content.iter_chunked(_BLOCK_BYTES):
        content += block
        if len(content) > max_bytes:
            raise InputError(f"is larger than {max_bytes >> 20} MiB", where=url, fix=_FIX)
    if content[:512].lstrip()[:1] == b"<":
        raise InputError("is a web page, not a price list", where=url, fix="check the address")
    return bytes(content)
