"""How far the calls are: as numbers, and as a bar on standard error."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class Progress:
    """Counts of the calls of one client.

    Args:
        show: Whether to draw a bar while calls wait.
    """

    def __init__(self, *, show: bool) -> None:
        self.asked = self.answered = self.failed = 0
        self._running: dict[str, int] = {}
        columns = (TextColumn("calls"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Bar(*columns, console=Console(file=sys.stderr), transient=True) if show else None
        self._task = self._bar.add_task("calls") if self._bar else None

    @property
    def waiting(self) -> int:
        """Calls that wait for their answers."""
        return self.asked - self.answered - self.failed

    @property
    def done_at_gateway(self) -> int:
        """Calls with an answer, also those whose batch has not ended."""
        return self.answered + self.failed + sum(self._running.values())

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count a call; one that ends with an exception has failed."""
        self.asked += 1
        self._draw()
        try:
            yield
            self.answered += 1
        except BaseException:
            self.failed += 1
            raise
        finally:
            self._draw()

    def running(self, batch_id: str, counts: Mapping[str, int] | None) -> None:
        """Note how many calls of a batch are done; None when it has ended."""
        if counts is None:
            self._running.pop(batch_id, None)
        else:
            self._running[batch_id] = counts["completed"] + counts["failed"]
        self._draw()

    def _draw(self) -> None:
        if self._bar is None or self._task is None:
            return
        self._bar.update(self._task, total=self.asked, completed=min(self.asked, self.done_at_gateway))
        if self.waiting:
            self._bar.start()
        else:
            self._bar.stop()
