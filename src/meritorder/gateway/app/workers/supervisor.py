"""Runs the processes of a gateway by uvicorn's supervisor: one that dies is replaced, SIGHUP replaces all in turn."""

import asyncio
import contextlib
import fcntl
import logging
import multiprocessing
import os
import shlex
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from meritorder.errors import ConfigError, WorkloadsError
from meritorder.gateway.app import server
from meritorder.gateway.app.listening import listen
from meritorder.gateway.app.server import Listening
from meritorder.gateway.app.workers.service import Worker, give_up
from meritorder.gateway.config import Settings, duration_s
from meritorder.gateway.peers import Peers
from meritorder.gateway.routes import pages
from meritorder.gateway.state.auth import Authenticator
from meritorder.gateway.store.database import Database
from meritorder.gateway.venues.plans.matching import read_plan
from meritorder.gateway.venues.venues import build_venues

_START_S: Final = 120.0
_PORT: Final = "{port}"
_ENGINE_PORT: Final = "8001"  # in advice
_CLOSE_S: Final = 15.0  # beyond the drain, to write what is pending
_log: Final = logging.getLogger(__name__)


def serve_workers(settings: Settings, announce: Callable[[Listening], None], count: int) -> None:
    """Run a gateway of several processes until it is stopped by a signal.

    Args:
        settings: The configuration.
        announce: Called once all of them listen.
        count: How many.

    Raises:
        ConfigError: The settings cannot be used, or another gateway uses the SQLite file.
    """
    server.configure_logging(settings.server.log)
    _check_limits(settings, count)
    read_plan(settings)
    models = build_venues(settings).models()
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(server.lock_database(settings) or contextlib.nullcontext())
        listener = stack.enter_context(listen(settings.server.host, settings.server.port))
        server.migrate(settings, locked=True)
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_SH)  # with the workers, which may outlive this process
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meritorder-")))
        listening = Listening(
            url=server.url_of(listener),
            models=tuple(sorted(models)),
            needs_key=_needs_key(settings),
            pages_socket=folder / pages.SOCKET if settings.ui.enabled else None,
        )
        config = _WorkerConfig(settings, folder, count)
        stop_s = duration_s(settings.server.drain) + _CLOSE_S
        _Supervisor(config, [listener], partial(announce, listening), stop_s).run()


def _check_limits(settings: Settings, count: int) -> None:
    for venue in settings.venue:
        if venue.command:
            what = f"venue {venue.name} has a command, which each of {count} workers would start"
            *command, url = (text.replace(_PORT, _ENGINE_PORT) for text in (*venue.command, venue.url))
            fix = f"run {shlex.join(command)} yourself, and write url = {url!r} in place of the command"
            raise ConfigError(what, where="--workers", fix=fix)
        for name in ("max_concurrency", "tokens_per_minute"):
            limit = getattr(venue, name)
            if limit is not None and limit < count:
                what = f"venue {venue.name} has {name} = {limit}, which {count} workers cannot share"
                raise ConfigError(what, where="--workers", fix=f"start at most {limit}")


def _needs_key(settings: Settings) -> bool:
    database = Database(settings.store.url)
    try:
        authenticator = Authenticator(database, settings.server.require_keys)
        asyncio.run(authenticator.refresh())
        return authenticator.required and not authenticator.has_keys
    finally:
        database.close()


class _WorkerConfig(uvicorn.Config):
    """A configuration that builds the service in the process of the worker."""

    def __init__(self, settings: Settings, folder: Path, count: int) -> None:
        options = server.uvicorn_options(settings)
        super().__init__("", workers=count, timeout_worker_healthcheck=int(_START_S), **options)
        self._settings, self._folder, self._count = settings, folder, count

    def load(self) -> None:
        """Build the service."""
        server.configure_logging(self._settings.server.log)
        threading.Thread(target=_stop_with_parent, daemon=True).start()
        try:
            self._lock = server.lock_database(self._settings, shared=True)  # as long as this process lives
            peers = Peers(self._folder, self._count)
            service = server.build_service(self._settings, partial(Worker, peers=peers), peers.share)
        except WorkloadsError as error:
            _log.error("a worker cannot start: %s", error)
            give_up()
        self.app, self.http = service, service.connections.protocol  # type: ignore[assignment]  # called as a class
        super().load()


def _stop_with_parent() -> None:
    """Stop this process when the supervisor is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _Supervisor(Multiprocess):
    """A supervisor that announces its processes, logs which died, and waits for none forever.

    Args:
        config: The configuration.
        sockets: What they listen on.
        announce: Called once all of them listen.
        stop_s: How long they may take to stop.
    """

    def __init__(
        self, config: _WorkerConfig, sockets: list[socket.socket], announce: Callable[[], None], stop_s: float
    ) -> None:
        super().__init__(config, sockets)
        self._announce, self._stop_s = announce, stop_s

    def init_processes(self) -> None:
        """Start the processes.

        Raises:
            ConfigError: One of them does not start.
        """
        super().init_processes()
        if not all(process.wait_until_ready(_START_S) for process in self.processes):
            self.terminate_all()
            self.join_all()
            raise ConfigError("a worker did not start", where="--workers", fix="see the log")
        self._announce()

    def keep_subprocess_alive(self) -> None:
        """Replace the processes that died; uvicorn's own would wait for an answer of one that dies meanwhile."""
        for at, dead in enumerate(self.processes):
            if dead.process.is_alive():
                continue
            dead.kill()  # closes its pipes
            if dead.exitcode == STARTUP_FAILURE:
                _log.error("a worker cannot start: the gateway stops")
                self.should_exit.set()
                return
            self.processes[at] = Process(self.config, self.sockets)
            self.processes[at].start()
            _log.warning("worker %s died (exit code %s) and is replaced", dead.pid, dead.exitcode)

    def join_all(self) -> None:
        """Wait for the processes, which drain; kill one that does not end."""
        for process in self.processes:
            process.process.join(self._stop_s)
            if process.exitcode is None:
                process.kill()
                process.join()

    def handle_ttin(self) -> None:
        """Start no more processes: the limits are divided by their number."""

    handle_ttou = handle_ttin
