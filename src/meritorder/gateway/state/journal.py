"""The journal: a file of the ledger entries of one process, which survives the process.

Each line is a checksum and an entry as JSON; the first names the journal. The file is locked as long as its process
lives: one that can be locked was left by a process that is gone, and its name is the id of that gateway.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self
from uuid import uuid4
from zlib import crc32

from meritorder.errors import ConfigError

_SUFFIX: Final = ".journal"
_READ_BYTES: Final = 1024 * 1024
_ID_BYTES: Final = 32
HEADER_BYTES: Final = 9 + _ID_BYTES + 1


class Journal:
    """A locked file of entries.

    Args:
        path: Its path; the name is the id of a gateway.
        descriptor: The open file.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._is_torn = False
        self.id = ""
        self.size = os.fstat(descriptor).st_size
        self.added = HEADER_BYTES  # up to where its entries are in the ledger

    @classmethod
    def create(cls, folder: Path, instance_id: str) -> Self:
        """Create the journal of this process.

        Raises:
            ConfigError: The folder cannot be written, or its file system has no locks.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / (instance_id + _SUFFIX)
            new = path.with_suffix(".new")  # others must not see it before it is locked
            journal = cls(path, os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600))
            fcntl.flock(journal._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.rename(path)
            journal.restart()
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be used: {error.strerror}", where="store.journal", fix="name a folder on a local disk"
            ) from error
        return journal

    @property
    def instance_id(self) -> str:
        """Id of the gateway whose process wrote it."""
        return self.path.stem

    def append(self, entries: Sequence[bytes]) -> int:
        """Append entries together; return how many, which survive this process at once, and the machine after `sync`.

        Raises:
            OSError: None was written, for example because the disk is full.
        """
        lines = b"".join([b"%08x %s\n" % (crc32(entry), entry) for entry in entries])
        end_of_torn = b"\n" if self._is_torn else b""
        content = end_of_torn + lines
        written = content[: os.write(self._descriptor, content)]
        self.size += len(written)
        self._is_torn = not written.endswith(b"\n") if written else self._is_torn
        count = written.count(b"\n") - len(end_of_torn)
        if count <= 0 < len(entries):
            raise OSError("the disk is full")
        return count

    def sync(self) -> None:
        """Write the entries to the disk."""
        os.fdatasync(self._descriptor)

    def restart(self) -> None:
        """Empty the file, under a new id; only once all of its entries are in the ledger."""
        os.ftruncate(self._descriptor, 0)
        self.id, self.size, self.added, self._is_torn = uuid4().hex, 0, HEADER_BYTES, False
        self.append([self.id.encode()])

    def read(self, max_lines: int) -> tuple[list[bytes], int]:
        """Return the next entries that are not in the ledger yet, and the position after them.

        An incomplete last line is left out; a damaged line is returned as it is, which is no entry.
        """
        entries: list[bytes] = []
        end = self.added
        for line, line_end in self._lines(end):
            end = line_end
            if line:
                entries.append(_checked(line) or line)
            if len(entries) >= max_lines:
                break
        return entries, end

    def _lines(self, position: int) -> Iterator[tuple[bytes, int]]:
        rest = b""
        while part := os.pread(self._descriptor, _READ_BYTES, position + len(rest)):
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                position += len(line) + 1
                yield line, position

    def close(self, *, remove: bool = False) -> None:
        """Release the lock; remove the file, or leave it for the next process."""
        if self._descriptor < 0:
            return
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1


def left_behind(folder: Path) -> Iterator[Journal]:
    """Yield the journals of processes that are gone, each locked; the caller closes them."""
    for path in sorted(folder.glob("*" + _SUFFIX)):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue  # another gateway has just removed it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        if not path.exists():
            os.close(descriptor)
            continue
        journal = Journal(path, descriptor)
        header = os.pread(descriptor, HEADER_BYTES, 0)
        journal.id = (_checked(header.rstrip(b"\n")) or header.hex().encode()[:_ID_BYTES]).decode()
        yield journal


def _checked(line: bytes) -> bytes | None:
    """Return the entry of a line; None if the line is damaged."""
    checksum, _, entry = line.partition(b" ")
    return entry if checksum == b"%08x" % crc32(entry) else None
