"""Files of object stores and web servers as local copies; credentials come from the environment, as for obstore."""

import http.client
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final
from urllib import error as url_errors
from urllib import request
from urllib.parse import urlsplit

from meritorder.errors import InputError

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_STORES: Final = ("s3", "gs", "az", "abfss")
_SITES: Final = ("https", "http")
_WILDCARDS: Final = re.compile(r"[*?\[]")
_TIMEOUT_S: Final = 60
_RETRIES: Final = 2
_BLOCK_BYTES: Final = 1 << 20
_CREDENTIALS: Final = {
    "s3": "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or AWS_SKIP_SIGNATURE=true for a public bucket",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for a public bucket",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "abfss": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


def is_url(name: str) -> bool:
    """Return whether a name is a URL rather than a path."""
    return _URL.match(name) is not None


def expand(url: str, *, suffixes: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the URLs behind a glob or a folder of an object store; any other URL is itself.

    Args:
        url: URL of a file, a glob over the objects of a bucket, or a folder, which ends with "/".
        suffixes: Ends of the names of files to take from a folder.

    Raises:
        InputError: The scheme is unknown, nothing matches, or the bucket cannot be listed.
    """
    scheme = urlsplit(url).scheme.lower()
    if scheme not in (*_STORES, *_SITES):
        known = ", ".join(f"{name}://" for name in ("https", *_STORES))
        raise InputError(f"files of {scheme}:// cannot be read", where=url, fix=f"use a path, or {known}")
    root, key = _bucket_and_key(url)
    folder = url.endswith("/") and bool(suffixes)
    if scheme in _SITES or not (folder or _WILDCARDS.search(key)):
        yield url
        return
    prefix = _WILDCARDS.split(key)[0].rpartition("/")[0]
    with_suffix = tuple(suffixes) if folder else ("",)
    pattern = "*" if folder else key
    names = [name for name in _listed(url, root, prefix) if name.lower().endswith(with_suffix)]
    matches = sorted(name for name in names if fnmatchcase(name, pattern))
    if not matches:
        raise InputError("no such file", where=url, fix="name an object, or a glob over objects")
    yield from (f"{root}/{name}" for name in matches)


def fetch(url: str, path: Path) -> Path:
    """Copy a file to a path, and return the path.

    Raises:
        InputError: There is no such file, or it cannot be read.
    """
    if urlsplit(url).scheme.lower() in _SITES:
        return _fetch_from_site(url, path)
    import obstore  # noqa: PLC0415  (slow to import, and needed for object stores only)

    root, key = _bucket_and_key(url)
    try:
        with path.open("wb") as target:
            for part in obstore.get(_store(root), key).stream(min_chunk_size=_BLOCK_BYTES):
                target.write(part)
    except Exception as error:
        raise _refusal(url, error) from error
    return path


def _fetch_from_site(url: str, path: Path) -> Path:
    try:
        with request.urlopen(url, timeout=_TIMEOUT_S) as answer, path.open("wb") as target:  # noqa: S310  (http and https only)
            shutil.copyfileobj(answer, target, _BLOCK_BYTES)
            missing_bytes = answer.length or 0
    except url_errors.HTTPError as error:
        fix = "check the address, and whether it needs a login"
        raise InputError(f"cannot be read ({error.code} {error.reason})", where=url, fix=fix) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"cannot be read ({_first_line(reason)})", where=url, fix="check the address") from error
    if missing_bytes:
        raise InputError("the transfer ended early", where=url, fix="try again")
    return path


def _bucket_and_key(url: str) -> tuple[str, str]:
    """Return the URL of a bucket, and the name of an object in it, which may contain any character."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{scheme.lower()}://{bucket}", key


def _store(root: str) -> Any:  # noqa: ANN401  (obstore has no class for all stores)
    from obstore.store import from_url  # noqa: PLC0415

    # Stores are reached by https, unless the environment names another endpoint.
    return from_url(
        root,
        client_options={
            "timeout": timedelta(seconds=_TIMEOUT_S),
            "connect_timeout": timedelta(seconds=10),
            "allow_http": True,
        },
        retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_TIMEOUT_S)},
    )


def _listed(url: str, root: str, prefix: str) -> Iterator[str]:
    import obstore  # noqa: PLC0415

    try:
        for page in obstore.list(_store(root), prefix=prefix or None):
            yield from (meta["path"] for meta in page if meta["size"])
    except Exception as error:
        raise _refusal(url, error) from error


def _refusal(url: str, error: Exception) -> InputError:
    """Return the error of an object store in one line; obstore's own have many."""
    if isinstance(error, FileNotFoundError) or type(error).__name__ == "NotFoundError":
        return InputError("no such file", where=url, fix="name an object, or a glob over objects")
    scheme = urlsplit(url).scheme.lower()
    return InputError(f"cannot be read ({_first_line(error)})", where=url, fix=_CREDENTIALS[scheme])


def _first_line(error: object) -> str:
    return " ".join(str(error).partition("\n")[0].split())[:200]
