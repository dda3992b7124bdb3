"""Builds the service from its settings, and runs it."""

import datetime as dt
import fcntl
import gc
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import msgspec
import uvicorn
from sqlalchemy import make_url

from meritorder.errors import ConfigError, MissingExtraError
from meritorder.gateway import config
from meritorder.gateway.app.service import Service
from meritorder.gateway.config import Settings, duration_s
from meritorder.gateway.state.auth import Authenticator, new_id
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.ledger_writer import LedgerWriter
from meritorder.gateway.state.webhooks import Webhooks
from meritorder.gateway.store import migrate
from meritorder.gateway.store.blobs import Blobs
from meritorder.gateway.store.database import Database
from meritorder.gateway.venues import llamacpp
from meritorder.gateway.venues import plan as planned
from meritorder.gateway.venues import venues as all_venues

if TYPE_CHECKING:
    from meritorder.gateway.state.telemetry import Telemetry

# Longer than the pools of most clients keep theirs: who closes first must be the client.
_KEEP_ALIVE_S: Final = 120
_BACKLOG: Final = 4096
_ALLOCATIONS_BETWEEN_COLLECTIONS: Final = 10_000  # Python's own: 700
_COLLECTORS: Final = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
_INSTALL: Final = "pip install 'meritorder[telemetry]'"
_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_log: Final = logging.getLogger(__name__)


class _Announcing(uvicorn.Server):
    """A server that says where it listens, once it does."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[str], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _collect_rarely()
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._announce(f"http://{host}:{port}")


def _collect_rarely() -> None:
    """Leave what is there for good out of garbage collection, and look through what comes and goes less often.

    Requests leave no cycles behind; a look through all that was imported takes tens of milliseconds, in which nobody is
    answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS, 10, 10)


def settings_of(
    path: Path | None, *, host: str | None = None, port: int | None = None, plan: Path | None = None
) -> Settings:
    """Read a configuration, or make the local one; what is given here counts more than the file.

    Raises:
        ConfigError: The file cannot be used.
        MissingExtraError: The local engine is not installed.
    """
    settings = _local() if path is None else config.read(path)
    server = msgspec.structs.replace(
        settings.server,
        host=settings.server.host if host is None else host,
        port=settings.server.port if port is None else port,
    )
    return msgspec.structs.replace(settings, server=server, plan=settings.plan if plan is None else str(plan))


def _local() -> Settings:
    engine = llamacpp.local_engine()
    return config.local(llamacpp.MODEL, list(engine.argv), llamacpp.MAX_SEQUENCES)


def build(settings: Settings) -> Service:
    """Return the service; its store is there and of this version.

    Raises:
        ConfigError: Something in the settings cannot be used.
    """
    plan = planned.read(settings)
    database = Database(settings.store.url)
    migrate.to_newest(database)
    telemetry = telemetry_of(settings)
    tables = {table.name: table for table in settings.venue}
    venues = (
        all_venues.of(settings)
        if telemetry is None
        else all_venues.of(settings, lambda upstream: telemetry.traced(upstream, tables[upstream.name]))
    )
    context = Context(
        settings=settings,
        database=database,
        blobs=Blobs(settings.blobs_url),
        authenticator=Authenticator(database, settings.server.require_keys, time.time),
        ledger_writer=LedgerWriter(database),
        me=new_id("gateway-"),
        now_s=time.time,
        new_id=new_id,
        webhooks=Webhooks(settings.webhook, time.time, new_id),
        models=venues.models,
        telemetry=telemetry,
    )
    return Service(context, venues, plan)


def telemetry_of(settings: Settings) -> "Telemetry | None":
    """Return what makes spans, if the configuration or the environment names a collector."""
    asked = settings.telemetry.otlp_endpoint
    if not asked and (not _COLLECTORS & os.environ.keys() or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"):
        return None
    try:
        from meritorder.gateway.state.telemetry import Telemetry  # noqa: PLC0415 - it needs an extra
    except ImportError:
        if asked:
            raise MissingExtraError("telemetry needs OpenTelemetry", fix=_INSTALL) from None
        _log.warning("the environment names an OpenTelemetry collector, and it is not installed: %s", _INSTALL)
        return None
    return Telemetry(settings.telemetry)


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Run the gateway until it is told to stop.

    Args:
        settings: The configuration.
        announce: Told the address, once it is listened on.

    Raises:
        ConfigError: The settings cannot be used, or another gateway has the SQLite file.
    """
    _configure_logging(settings.server.log)
    lock = _lock(settings)
    try:
        listening = _listening(settings)
        service = build(settings)
        config_of_server = uvicorn.Config(
            service,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            access_log=False,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=int(duration_s(settings.server.drain)),
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        _Announcing(config_of_server, announce).run(sockets=[listening])
    finally:
        if lock is not None:
            lock.close()


def _listening(settings: Settings) -> socket.socket:
    """Take the port, or say why it cannot be had."""
    host, port = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}", where="server", fix="give another --port"
        ) from error


def _lock(settings: Settings) -> IO[str] | None:
    """Take the SQLite file for this process alone: it is what makes its leases ours at the start."""
    url = make_url(settings.store.url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    path = Path(url.database + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigError(
            "another gateway has it", where=settings.store.url, fix="stop that one, or use PostgreSQL to run several"
        ) from None
    return lock


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _configure_logging(log_format: str) -> None:
    """Log to standard error, one line per event; neither secrets nor request bodies are logged.

    Args:
        log_format: One of `config.LOG_FORMATS`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else logging.Formatter(_LOG_FORMAT))
    for name, level in (("meritorder", logging.INFO), ("opentelemetry", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
