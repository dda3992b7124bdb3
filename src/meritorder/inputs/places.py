"""Where inputs lie: paths, globs, standard input, pipes and URLs, as local files."""

import glob
import os
import select
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Final

from meritorder.errors import InputError
from meritorder.inputs import remote
from meritorder.units import BYTES_PER_GIB

STDIN: Final = "-"
MAX_PIPED_BYTES: Final = 16 * BYTES_PER_GIB
"""The most that is read from standard input or a pipe; and never more than half of the free disk space."""

_FIRST_BYTE_S: Final = 60.0
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file on this machine, or a local copy of what was named.

    Args:
        name: The file as the user named it.
        path: Where its bytes are.
    """

    name: str
    path: Path


class ScratchFolder:
    """A temporary folder for local copies, removed with this object or at the end of the program."""

    def __init__(self) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="meritorder-"))
        self._numbers = count()
        self._removal = weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)

    def new_path(self) -> Path:
        """Return the path of a file that does not exist yet."""
        return self._path / str(next(self._numbers))

    def remove(self) -> None:
        """Remove the folder now."""
        self._removal()


def locate(named: str | Path, scratch: ScratchFolder, *, suffixes: tuple[str, ...] = ()) -> Iterator[LocalFile]:
    """Yield the files behind a path, a glob, a folder, a URL, or `-` for standard input.

    Args:
        named: What the user named.
        scratch: Where copies of remote files and pipes are kept.
        suffixes: Ends of the names of files to take from a folder; without any, a folder is an error.

    Raises:
        InputError: There is no such file, it cannot be read, or it is a device.
    """
    name = str(named)
    if name == STDIN:
        yield LocalFile(name="stdin", path=_copied("stdin", sys.stdin.buffer, scratch))
        return
    if remote.is_url(name):
        yield from (
            LocalFile(name=url, path=remote.fetch(url, scratch.new_path()))
            for url in remote.expand(name, suffixes=suffixes)
        )
        return
    matches = [name] if Path(named).exists() else sorted(glob.glob(name, recursive=True))  # noqa: PTH207  (patterns may be absolute)
    if not matches:
        raise InputError("no such file", where=name, fix="name a file, a glob, a URL, or - for standard input")
    for match in matches:
        if Path(match).is_dir():
            yield from _inside(Path(match), suffixes)
        else:
            yield _local(match, scratch)


def _inside(folder: Path, suffixes: tuple[str, ...]) -> Iterator[LocalFile]:
    """Yield the files below a folder, by name."""
    if not suffixes:
        raise InputError("is a folder", where=str(folder), fix=f"name its files, for example '{folder}/*.csv'")
    for path in sorted(folder.rglob("*")):
        if path.name.lower().endswith(suffixes) and path.is_file():
            yield LocalFile(name=str(path), path=path)


def _local(name: str, scratch: ScratchFolder) -> LocalFile:
    path = Path(name)
    try:
        mode = path.stat().st_mode
        if stat.S_ISFIFO(mode):
            with _opened_pipe(name) as pipe:
                return LocalFile(name=name, path=_copied(name, pipe, scratch))
        if not stat.S_ISREG(mode):
            raise InputError("is a device, not a file", where=name, fix="name a file, or - for standard input")
        with path.open("rb"):
            return LocalFile(name=name, path=path)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=name) from error


def _opened_pipe(name: str) -> IO[bytes]:
    """Open a pipe, and wait a minute at most until something is written to it."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    if not select.select([descriptor], [], [], _FIRST_BYTE_S)[0]:
        os.close(descriptor)
        what = f"nothing was written to this pipe in {_FIRST_BYTE_S:.0f} s"
        raise InputError(what, where=name, fix="name a file, or start the program that writes to it")
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def _copied(name: str, source: IO[bytes], scratch: ScratchFolder) -> Path:
    """Copy a stream to a file, up to a limit."""
    path = scratch.new_path()
    limit_bytes = min(MAX_PIPED_BYTES, shutil.disk_usage(path.parent).free // 2)
    written_bytes = 0
    try:
        with path.open("wb") as target:
            while block := source.read(_BLOCK_BYTES):
                target.write(block)
                written_bytes += len(block)
                if written_bytes > limit_bytes:
                    what = f"more than {limit_bytes / BYTES_PER_GIB:,.0f} GiB came through a pipe"
                    raise InputError(what, where=name, fix="write it to a file, and name the file")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=name) from error
    return path
