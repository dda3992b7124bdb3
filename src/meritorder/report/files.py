"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path
from typing import Final

from meritorder.errors import ConfigError

_DEFAULT_MODE: Final = 0o666


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Put the content at the path in one step: whoever looks sees the old file or the whole new one.

    Raises:
        ConfigError: The folder is missing or cannot be written to, or the disk is full.
    """
    check_target(path)
    try:
        _replace(path, content)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(path), fix="name another file") from None


def check_target(*paths: Path | None) -> None:
    """Make sure that files can be written, before the work that they are to hold is done.

    Raises:
        ConfigError: A path is a folder, or is in none that can be written to; or two are the same.
    """
    named = [path for path in paths if path]
    for path in named:
        if path.is_dir():
            raise ConfigError("is a folder", where=str(path), fix="name a file in it")
        if not path.parent.is_dir():
            raise ConfigError(f"the folder {path.parent} does not exist", where=str(path), fix="make it first")
        if not os.access(path.parent, os.W_OK):
            raise ConfigError("cannot be written: Permission denied", where=str(path), fix="name another file")
    if len({path.resolve() for path in named}) < len(named):
        raise ConfigError("is named twice", where=str(named[0]), fix="give each output a file of its own")


def _replace(path: Path, content: bytes) -> None:
    target = path.resolve()  # a link stays a link
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
    """Return the mode of the old file, or what the umask leaves to a new one."""
    if target.exists():
        return target.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return _DEFAULT_MODE & ~umask
