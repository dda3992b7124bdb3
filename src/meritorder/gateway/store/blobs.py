"""Contents of files, on disk or in an object store, streamed both ways."""

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError

from meritorder.errors import ConfigError
from meritorder.gateway.errors import BlobMissingError, StoreUnavailableError

_PART_BYTES: Final = 8 * 1024 * 1024
_READ_BYTES: Final = 1024 * 1024
_RUST: Final = "pyo3_runtime"  # of a panic, such as without a file descriptor; it is no Exception
_OWNER_ONLY: Final = stat.S_IRWXU
_log: Final = logging.getLogger(__name__)


class Blobs:
    """A blob store: a folder or a bucket.

    Args:
        url: `file:///path` or `s3://bucket/prefix`; credentials come from the environment.
    """

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._folder = Path(address.path) if address.scheme == "file" else None
        self.is_up = True
        try:
            if self._folder is not None:
                self._folder.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
                with contextlib.suppress(PermissionError):  # another user's folder, which is theirs to protect
                    self._folder.chmod(_OWNER_ONLY)
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

    async def start(self) -> None:
        """Start the runtime of the library while there are file descriptors for it: it does not try again."""
        await obstore.put_async(obstore.store.MemoryStore(), "started", b"")

    async def write(self, name: str, parts: AsyncIterator[bytes]) -> int:
        """Write a blob, whole or not at all, and return its size.

        Raises:
            StoreUnavailableError: It could not be written, for example because the disk is full.
        """
        size = 0
        with self._checked("written"):
            async with obstore.open_writer_async(self._store, name, buffer_size=_PART_BYTES) as writer:
                async for part in parts:
                    size += len(part)
                    await writer.write(part)
            await asyncio.to_thread(self._sync, name)
        return size

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Yield the parts of a blob.

        Raises:
            StoreUnavailableError: It cannot be read.
        """
        with self._checked("read"):
            blob = await obstore.get_async(self._store, name)
            async for part in blob.stream(min_chunk_size=_READ_BYTES):
                yield bytes(part)

    def read_now(self, name: str, start: int = 0) -> Iterator[bytes]:
        """Yield the parts of a blob from a position; blocks the calling thread."""
        with self._checked("read"):
            if start >= obstore.head(self._store, name)["size"]:
                return
            blob = obstore.get(self._store, name, options={"range": {"offset": start}})
            for part in blob.stream(min_chunk_size=_READ_BYTES):
                yield bytes(part)

    async def parts(self, name: str, places: list[tuple[int, int]]) -> list[bytes]:
        """Return parts of a blob, each given as start and length."""
        starts, lengths = [start for start, _ in places], [length for _, length in places]
        with self._checked("read"):
            return [
                bytes(part)
                for part in await obstore.get_ranges_async(self._store, name, starts=starts, lengths=lengths)
            ]

    async def remove(self, name: str) -> None:
        """Delete a blob, whole or in part written, if it exists."""
        with self._checked("deleted"), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, name)
        if self._folder is not None:
            for part in self._folder.glob(f"{name}#*"):  # where the store collects what it has of a blob
                part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _checked(self, action: str) -> Iterator[None]:
        """Turn failures of the store into its error; log an outage once, and its end."""
        try:
            yield
        except FileNotFoundError as error:
            raise BlobMissingError(f"the blob was not {action}: it does not exist") from error
        except (BaseError, OSError) as error:
            raise self._mark_down(action, error) from error
        except BaseException as error:
            if type(error).__module__ != _RUST:
                raise
            raise self._mark_down(action, error) from error
        if not self.is_up:
            self.is_up = True
            _log.warning("the blob store works again")

    def _mark_down(self, action: str, error: BaseException) -> StoreUnavailableError:
        what = f"the blob was not {action}: {str(error).partition(chr(10))[0]}"
        if self.is_up:
            self.is_up = False
            _log.warning("the blob store fails: %s", what)
        return StoreUnavailableError(what)

    def _sync(self, name: str) -> None:
        """Make a blob private and flush it to disk, before it is reported as written."""
        if self._folder is None:
            return
        for path in (self._folder / name, (self._folder / name).parent):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                if path.is_file():
                    os.fchmod(descriptor, stat.S_IRUSR | stat.S_IWUSR)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
