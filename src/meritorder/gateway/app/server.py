"""Builds the service from its settings and runs it under uvicorn."""

import contextlib
import datetime as dt
import fcntl
import gc
import json
import logging
import os
import socket
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
import uvicorn
from sqlalchemy import make_url

from meritorder.errors import ConfigError, MissingExtraError
from meritorder.gateway import config_file
from meritorder.gateway.app.listening import listen, listen_on_file
from meritorder.gateway.app.service import Service
from meritorder.gateway.config import ServerTable, Settings, VenueKind, VenueTable, duration_s
from meritorder.gateway.peers import WHOLE, Share
from meritorder.gateway.state.auth import Authenticator, new_id
from meritorder.gateway.state.clock import Clock
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.journal import Journal
from meritorder.gateway.state.ledger_writer import LedgerWriter
from meritorder.gateway.state.quotas import Quotas
from meritorder.gateway.state.reservations import Spending
from meritorder.gateway.state.webhooks import Webhooks
from meritorder.gateway.store import heartbeats, migrations
from meritorder.gateway.store.blobs import Blobs
from meritorder.gateway.store.database import Database
from meritorder.gateway.venues import llamacpp
from meritorder.gateway.venues.expected_costs import ExpectedCosts
from meritorder.gateway.venues.plans.in_force import PlanInForce
from meritorder.gateway.venues.plans.matching import read_plan
from meritorder.gateway.venues.venues import Venues, build_venues

if TYPE_CHECKING:
    from meritorder.gateway.state.telemetry import Telemetry

# Longer than the connection pools of most clients: the client must be the one that closes first.
_KEEP_ALIVE_S: Final = 120
_SWITCH_INTERVAL_S: Final = 0.0005  # Python's default is ten times as long
_GC_THRESHOLD: Final = 10_000  # allocations between collections; Python's default is 700
_COLLECTOR_VARIABLES: Final = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
_INSTALL: Final = "pip install 'meritorder[telemetry]'"
_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """A gateway that listens.

    Args:
        url: Its URL.
        models: The models that it serves.
        needs_key: Whether calls need a key and none exists yet.
        pages_socket: Where the web application has to listen; None without one.
    """

    url: str
    models: tuple[str, ...]
    needs_key: bool
    pages_socket: Path | None


class _Server(uvicorn.Server):
    """A server that announces its URL once it listens."""

    def __init__(self, config: uvicorn.Config, service: Service, announce: Callable[[Listening], None]) -> None:
        super().__init__(config)
        self._service = service
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        tune_interpreter()
        if self.started:
            authenticator = self._service.context.authenticator
            self._announce(
                Listening(
                    url=url_of(self.servers[0].sockets[0]),
                    models=tuple(sorted(self._service.venues.models())),
                    needs_key=authenticator.required and not authenticator.has_keys,
                    pages_socket=self._service.pages.socket if self._service.pages is not None else None,
                )
            )


def url_of(listener: Any) -> str:  # noqa: ANN401 - a socket, or what asyncio shows of one
    """Return the URL of what listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def tune_interpreter() -> None:
    """Exclude all current objects from garbage collection, collect less often, and let the event loop run sooner.

    Requests leave no reference cycles, but a full collection over the imported modules blocks the event loop for tens
    of milliseconds. A thread that reads the input of a batch gives the interpreter up after the switch interval only,
    each time that the event loop wants it.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 10, 10)


def load_settings(
    path: Path | None, *, host: str | None = None, port: int | None = None, plan: Path | None = None
) -> Settings:
    """Return the settings of a file, or the local ones; the other arguments override it.

    Raises:
        ConfigError: The file cannot be read or is invalid.
        MissingExtraError: The local engine is not installed.
    """
    settings = _local_settings() if path is None else config_file.read(path)
    server = msgspec.structs.replace(
        settings.server,
        host=settings.server.host if host is None else host,
        port=settings.server.port if port is None else port,
    )
    return msgspec.structs.replace(settings, server=server, plan=settings.plan if plan is None else str(plan))


def _local_settings() -> Settings:
    """Return the settings of a gateway with the embedded engine and no API keys."""
    engine = llamacpp.local_engine()
    venue = VenueTable(
        name=engine.venue.endpoint.name,
        url=engine.venue.endpoint.base_url,
        kind=VenueKind.LLAMA_CPP,
        models=[llamacpp.MODEL],
        max_concurrency=llamacpp.MAX_SEQUENCES,
        command=list(engine.argv),
        start="1m",
    )
    return Settings(server=ServerTable(require_keys=False), venue=[venue])


def migrate(settings: Settings, *, locked: bool = False) -> None:
    """Bring the store of the settings to this version.

    Args:
        settings: The configuration.
        locked: Whether its SQLite file is locked for this gateway, so that all earlier leases are stale.

    Raises:
        ConfigError: It cannot be reached, or a newer Meritorder has altered it.
    """
    database = Database(settings.store.url)
    try:
        migrations.upgrade(database)
        if locked and database.is_sqlite:
            database.submit(heartbeats.remove_all).result()
    finally:
        database.close()


def build_service(
    settings: Settings, make: Callable[[Context, Venues, PlanInForce], Service] = Service, share: Share = WHOLE
) -> Service:
    """Return the service of the settings, with its store migrated to this version.

    Args:
        settings: The configuration.
        make: Makes the service.
        share: Of the limits of venues, for this process.

    Raises:
        ConfigError: The settings name something that cannot be used.
    """
    plan = read_plan(settings)
    database = Database(settings.store.url)
    migrations.upgrade(database)
    telemetry = build_telemetry(settings)
    instance_id = new_id("gateway-")
    tables = {table.name: table for table in settings.venue}
    venues = (
        build_venues(settings, share=share)
        if telemetry is None
        else build_venues(settings, lambda upstream: telemetry.traced(upstream, tables[upstream.name]), share)
    )
    clock = Clock()
    authenticator = Authenticator(database, settings.server.require_keys)
    spending = Spending(authenticator.find)
    ledger_writer = LedgerWriter(database, Journal.create(settings.journal_folder, instance_id), spending)
    context = Context(
        settings=settings,
        database=database,
        blobs=Blobs(settings.blobs_url),
        authenticator=authenticator,
        quotas=Quotas(database, instance_id, clock.now_s, spending, ledger_writer.flush),
        ledger_writer=ledger_writer,
        instance_id=instance_id,
        now_s=clock.now_s,
        clock=clock,
        new_id=new_id,
        webhooks=Webhooks(settings.webhook, clock.now_s, new_id),
        models=venues.models,
        expected_picousd=ExpectedCosts(venues).picousd,
        telemetry=telemetry,
    )
    return make(context, venues, plan)


def build_telemetry(settings: Settings) -> "Telemetry | None":
    """Return the telemetry, if the configuration or the environment names a collector."""
    endpoint = settings.telemetry.otlp_endpoint
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not endpoint and (disabled or not _COLLECTOR_VARIABLES & os.environ.keys()):
        return None
    try:
        from meritorder.gateway.state.telemetry import Telemetry  # noqa: PLC0415 - it needs an extra
    except ImportError:
        if endpoint:
            raise MissingExtraError("telemetry needs OpenTelemetry", fix=_INSTALL) from None
        _log.warning("the environment names a collector, but OpenTelemetry is not installed: %s", _INSTALL)
        return None
    return Telemetry(settings.telemetry)


def serve(
    settings: Settings,
    announce: Callable[[Listening], None],
    *,
    make: Callable[[Context, Venues, PlanInForce], Service] = Service,
    socket_file: Path | None = None,
) -> None:
    """Run the gateway until it is stopped by a signal.

    Args:
        settings: The configuration.
        announce: Called once the server listens.
        make: Makes the service.
        socket_file: A file to listen on as well, for its owner.

    Raises:
        ConfigError: The settings cannot be used, or another gateway uses the SQLite file.
    """
    configure_logging(settings.server.log)
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock_database(settings) or contextlib.nullcontext())
        listeners = [stack.enter_context(listen(settings.server.host, settings.server.port))]
        if socket_file is not None:
            listeners.append(stack.enter_context(listen_on_file(socket_file)))
        migrate(settings, locked=True)
        service = build_service(settings, make)
        options = uvicorn_options(settings) | {"http": service.connections.protocol}
        _Server(uvicorn.Config(service, **options), service, announce).run(sockets=listeners)


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """Return the options of uvicorn."""
    return {
        "loop": "uvloop",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "log_level": "error",  # its warnings are about what clients send
        "proxy_headers": False,
        "server_header": False,
        "date_header": False,
        "timeout_graceful_shutdown": int(duration_s(settings.server.drain)),
        "timeout_keep_alive": _KEEP_ALIVE_S,
    }


def lock_database(settings: Settings, *, shared: bool = False) -> IO[str] | None:
    """Lock the SQLite file for this process, so that leases found at startup are stale.

    Args:
        settings: The configuration.
        shared: Whether to share the lock with the other processes of this gateway.
    """
    url = make_url(settings.store.url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    path = Path(url.database + ".lock")
    try:
        path.parent.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, stat.S_IRUSR | stat.S_IWUSR), "w")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", where="store.url", fix="name a file in a folder of yours"
        ) from error
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigError(
            "another gateway uses it", where=settings.store.url, fix="stop that one, or use PostgreSQL to run several"
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


def configure_logging(log_format: str) -> None:
    """Log to standard error, one line per event; neither secrets nor request bodies are logged.

    Args:
        log_format: One of `config.LOG_FORMATS`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else logging.Formatter(_LOG_FORMAT))
    levels = {"meritorder": logging.INFO, "opentelemetry": logging.WARNING, "python_multipart": logging.ERROR}
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
