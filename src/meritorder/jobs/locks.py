"""Locks of jobs: of a file, which ends with its process, or of an object, which ends unless it is renewed."""

import fcntl
import os
import time
import uuid
from typing import Any, Final, Protocol

from meritorder.errors import ConfigError

_STALE_S: Final = 30.0
_POLL_S: Final = 2.0
_ABSENT: Final = "create"  # the mode in which only a new object is written


class Lock(Protocol):
    """A lock that one run can hold."""

    def acquire(self) -> bool:
        """Take it; False if another run holds it."""

    def renew(self) -> None:
        """Show that it is still held.

        Raises:
            ConfigError: Another run has taken it.
        """

    def release(self) -> None:
        """Give it back."""


class FileLock:
    """A lock of a file; the operating system ends it with the process.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def acquire(self) -> bool:
        """Take it; False if another run holds it."""
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            return False
        return True

    def renew(self) -> None:
        """Do nothing: it is held as long as the process lives."""

    def release(self) -> None:
        """Give it back."""
        os.close(self._descriptor)


class ObjectLock:
    """A lock of an object, which is written only if it is as it was seen last; a holder renews it every few seconds.

    Args:
        url: URL of a folder in an object store.
        name: Name of the object in it.
    """

    def __init__(self, url: str, name: str) -> None:
        import obstore  # noqa: PLC0415 - with the extra `study`, and for object stores only
        from obstore import exceptions  # noqa: PLC0415
        from obstore.store import from_url  # noqa: PLC0415

        self._obstore, self._name = obstore, name
        self._changed = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
        self._missing, self._failed = exceptions.NotFoundError, exceptions.BaseError
        self._store: Any = from_url(url, client_options={"allow_http": True})

    def acquire(self) -> bool:
        """Take it; False if another run renews it. That of a run that was killed is taken after half a minute."""
        if self._write(_ABSENT):
            return True
        seen = version = self._version()
        end_s = time.monotonic() + _STALE_S
        while version == seen and time.monotonic() < end_s:
            time.sleep(_POLL_S)
            version = self._version()
        return version in (seen, _ABSENT) and self._write(version)

    def renew(self) -> None:
        """Show that it is still held.

        Raises:
            ConfigError: Another run has taken it.
        """
        if not self._write(self._held):
            raise ConfigError("another run has taken over")

    def release(self) -> None:
        """Give it back."""
        if self._version() == self._held:
            self._obstore.delete(self._store, self._name)

    def _version(self) -> Any:  # noqa: ANN401 - as the store has it
        try:
            found = self._obstore.head(self._store, self._name)
        except self._missing:
            return _ABSENT
        return _seen(found)

    def _write(self, mode: Any) -> bool:  # noqa: ANN401 - as the store has it
        try:
            written = self._obstore.put(self._store, self._name, uuid.uuid4().bytes, mode=mode)
        except self._changed:
            return False
        except self._failed as error:
            raise OSError(str(error).partition("\n")[0]) from None
        self._held = _seen(written)
        return True


def _seen(written: Any) -> Any:  # noqa: ANN401 - as the store has it
    """Return the mode in which an object is written only if it is as it was."""
    return {name: written[name] for name in ("e_tag", "version") if written[name] is not None}
