"""Contents of files, on disk or in an object store, streamed both ways."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError

from meritorder.errors import ConfigError
from meritorder.gateway.errors import StoreUnavailableError

_PART_BYTES: Final = 8 * 1024 * 1024
_READ_BYTES: Final = 1024 * 1024


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


class Blobs:
    """A blob store: a folder or a bucket.

    Args:
        url: `file:///path` or `s3://bucket/prefix`; credentials come from the environment.
    """

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._folder = Path(address.path) if address.scheme == "file" else None
        try:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._store: Any = obstore.store.LocalStore(self._folder)
            elif address.scheme in {"s3", "gs", "az"}:
                self._store = obstore.store.from_url(url)
            else:
                raise ConfigError(
                    f"{url!r} is not the URL of a blob store",
                    where="store.blobs",
                    fix="write file:///PATH or s3://BUCKET",
                )
        except (BaseError, ValueError, OSError) as error:
            raise ConfigError(f"cannot be used: {error}", where="store.blobs") from error

    async def write(self, name: str, parts: AsyncIterator[bytes]) -> int:
        """Write a blob, whole or not at all, and return its size.

        Raises:
            StoreUnavailableError: It could not be written, for example because the disk is full.
        """
        size = 0
        try:
            async with obstore.open_writer_async(self._store, name, buffer_size=_PART_BYTES) as writer:
                async for part in parts:
                    size += len(part)
                    await writer.write(part)
            await asyncio.to_thread(self._sync, name)
        except (BaseError, OSError) as error:
            raise StoreUnavailableError(f"the blob was not written: {_first_line(error)}") from error
        return size

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Yield the parts of a blob.

        Raises:
            StoreUnavailableError: It cannot be read.
        """
        try:
            blob = await obstore.get_async(self._store, name)
            async for part in blob.stream(min_chunk_size=_READ_BYTES):
                yield bytes(part)
        except (BaseError, OSError) as error:
            raise StoreUnavailableError(f"the blob was not read: {_first_line(error)}") from error

    def read_now(self, name: str) -> Iterator[bytes]:
        """Yield the parts of a blob; blocks the calling thread."""
        try:
            for part in obstore.get(self._store, name).stream(min_chunk_size=_READ_BYTES):
                yield bytes(part)
        except (BaseError, OSError) as error:
            raise StoreUnavailableError(f"the blob was not read: {_first_line(error)}") from error

    async def parts(self, name: str, places: list[tuple[int, int]]) -> list[bytes]:
        """Return parts of a blob, each given as start and length."""
        starts, lengths = [start for start, _ in places], [length for _, length in places]
        try:
            return [
                bytes(part)
                for part in await obstore.get_ranges_async(self._store, name, starts=starts, lengths=lengths)
            ]
        except (BaseError, OSError) as error:
            raise StoreUnavailableError(f"the blob was not read: {_first_line(error)}") from error

    async def remove(self, name: str) -> None:
        """Delete a blob if it exists."""
        try:
            await obstore.delete_async(self._store, name)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise StoreUnavailableError(f"the blob was not deleted: {_first_line(error)}") from error

    def _sync(self, name: str) -> None:
        """Flush a blob to disk, before it is reported as written."""
        if self._folder is None:
            return
        for path in (self._folder / name, (self._folder / name).parent):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
