"""Atomic writing of files: whole or not at all; devices and pipes are written to, never replaced."""

import os
import tempfile
from pathlib import Path
from typing import Final

from meritorder.errors import ConfigError

_DEFAULT_MODE: Final = 0o666
# Names of open descriptors, such as /dev/stdout: a rename would not reach what reads them.
_STREAMS: Final = ("/dev/", "/proc/")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write content atomically: a reader sees the old file or the whole new one.

    Raises:
        ConfigError: The folder is missing or not writable, the disk is full, or nobody reads the pipe.
    """
    check_target(path)
    write = _write_to_stream if _is_stream(path) else _replace
    try:
        write(path, content)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(path), fix="name another file") from None


def check_target(*paths: Path | None) -> None:
    """Check that files can be written, before their content is computed.

    Raises:
        ConfigError: A path is a folder, its folder is missing or not writable, or two paths are the same.
    """
    named = [path for path in paths if path]
    for path in named:
        if path.is_dir():
            raise ConfigError("is a folder", where=str(path), fix="name a file in it")
        if _is_stream(path):
            continue
        if not path.parent.is_dir():
            raise ConfigError(f"the folder {path.parent} does not exist", where=str(path), fix="create it first")
        if not os.access(path.parent, os.W_OK):
            raise ConfigError("cannot be written: Permission denied", where=str(path), fix="name another file")
    replaced = [path for path in named if not _is_stream(path)]
    if len({path.resolve() for path in replaced}) < len(replaced):
        raise ConfigError("is named twice", where=str(replaced[0]), fix="give each output a file of its own")


def _is_stream(path: Path) -> bool:
    """Return whether a path is a device, a pipe or an open descriptor rather than a file."""
    return str(path).startswith(_STREAMS) or (path.exists() and not path.is_file())


def _write_to_stream(path: Path, content: bytes) -> None:
    with path.open("wb", buffering=0) as stream:
        rest = memoryview(content)
        while rest:
            rest = rest[stream.write(rest) :]


def _replace(path: Path, content: bytes) -> None:
    target = path.resolve()  # a symbolic link is kept
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), _mode_of(target))
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _mode_of(target: Path) -> int:
    """Return the mode of the old file, or the default mode under the umask for a new one."""
    if target.exists():
        return target.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return _DEFAULT_MODE & ~umask
