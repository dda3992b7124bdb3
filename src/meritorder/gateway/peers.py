"""The processes of one gateway on one machine: what each may use, and what they tell each other, in files."""

import fcntl
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_REPORT: Final = ".report"
_LIVE_S: Final = 5.0  # a process that has not reported for this long is gone, or stands still


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The share of a process in the limits of its gateway.

    Args:
        number: Its number, from 0.
        count: How many processes there are.
    """

    number: int = 0
    count: int = 1

    def of(self, limit: int) -> int:
        """Return its part of a limit; the parts of all processes add up to the limit."""
        return limit // self.count + (self.number < limit % self.count)


WHOLE: Final = Share()


class Peers:
    """One of the processes that share a folder.

    It takes the lowest number that no living process has. While processes are replaced one by one, there is one more
    than their count; its share is that of the last.

    Args:
        folder: The folder.
        count: How many processes there are.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self._number, self._lock = next(locked for at in itertools.count() if (locked := _locked(folder, at)))
        self.share = Share(number=min(self._number, count - 1), count=count)

    def report(self, content: bytes) -> None:
        """Tell the others what this process has counted."""
        os.utime(self._lock)  # so that nothing that cleans temporary folders takes it for old
        self.write(f"{self._number}{_REPORT}", content)

    def last_report(self) -> bytes | None:
        """Return what this process, or one before it with its number, has reported last."""
        return self.read(f"{self._number}{_REPORT}")

    def other_reports(self) -> Iterator[tuple[bytes, bool]]:
        """Yield the last reports of the other processes, each with whether it is alive."""
        for path in sorted(self.folder.glob("*" + _REPORT)):
            if path.stem != str(self._number):
                yield path.read_bytes(), time.time() - path.stat().st_mtime < _LIVE_S

    def write(self, name: str, content: bytes) -> None:
        """Replace what all processes read under a name."""
        draft = self.folder / f"{name}.{self._number}"
        draft.write_bytes(content)
        draft.replace(self.folder / name)

    def read(self, name: str) -> bytes | None:
        """Return what was written last under a name; None if nothing was."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None


def _locked(folder: Path, number: int) -> tuple[int, int] | None:
    """Return a number and the descriptor of its lock, which ends with this process; None if another has it."""
    descriptor = os.open(folder / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return number, descriptor
