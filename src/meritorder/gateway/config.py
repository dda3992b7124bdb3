"""The configuration: one TOML file, checked whole at the start.

A secret is never in the file: `*_env` names an environment variable, `*_file` a file that holds it.
"""

import datetime as dt
import os
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from meritorder.deadlines import parse_deadline
from meritorder.errors import ConfigError, WorkloadsError
from meritorder.units import BYTES_PER_GIB, parse_duration_s

Positive = Annotated[int, msgspec.Meta(gt=0)]
Text = Annotated[str, msgspec.Meta(min_length=1)]

LOG_FORMATS: Final = ("text", "json")
KINDS: Final = ("openai", "vllm", "llama.cpp", "sglang", "anthropic", "gemini")
_KNOWN: Final = ("openai", "anthropic", "gemini")
_READS_LOAD: Final = ("vllm", "llama.cpp", "sglang")


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file. A name that is not known is refused: it is a slip of the pen."""


class Server(_Table, frozen=True):
    """Where to listen, and how to stop."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
    drain: str = "30s"  # time that requests under way get when the gateway stops
    require_keys: bool = True
    log: str = "text"  # or "json"
    default_model: str | None = None  # of responses that name none; the first by name if not given


class Store(_Table, frozen=True):
    """Where things are kept."""

    url: str = "sqlite:///meritorder-data/gateway.db"
    blobs: str = ""  # beside the database if not given
    lease: str = "10s"  # a gateway that has not been heard of for so long is taken for dead


class Limits(_Table, frozen=True):
    """Most that is taken."""

    body_bytes: Positive = 64 * 1024 * 1024
    file_bytes: Positive = 16 * BYTES_PER_GIB
    batch_lines: Positive = 5_000_000
    line_bytes: Positive = 16 * 1024 * 1024
    longest_window: str = "30d"
    request_time: str = "10m"  # for one answer of a venue
    attempts: Positive = 5  # faults of venues before a request fails


class Lanes(_Table, frozen=True):
    """What is promised to real time, and what becomes of work that may wait."""

    ttft: str = "2s"
    tpot: str = "100ms"
    attainment: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.99
    flex: str = "hold"  # or "refuse": 429 resource_unavailable when there is no idle capacity
    flex_deadline: str = "10m"
    background_window: str = "24h"
    margin: str = "1m"  # before its latest start, work escalates
    backfill: bool = True


class Price(_Table, frozen=True):
    """What tokens cost at a venue."""

    input_usd_per_mtok: Decimal
    cached_usd_per_mtok: Decimal | None = None
    output_usd_per_mtok: Decimal = Decimal(0)


class VenueTable(_Table, frozen=True):
    """One venue: where requests run."""

    name: Text
    url: str = ""  # of a provider that is known it may be left out
    models: list[str] | dict[str, str] = []
    kind: str = "openai"
    api_key_env: str | None = None
    api_key_file: str | None = None
    lanes: tuple[str, ...] = ("realtime", "deferrable")
    fallback: bool = False  # only for work that would be late elsewhere
    max_concurrency: Positive | None = None
    tokens_per_minute: Positive | None = None
    priority: bool = False  # the engine schedules by priority
    batch: bool = False  # batches that have the time go through its batch API
    batch_window: str = "24h"  # what that promises
    batch_poll: str = "30s"  # how often it is asked how far it is
    pool: str | list[str] = []  # what the plan calls it; its own name if not given
    price: Price | None = None
    command: list[str] = []  # run it when it is wanted; {port} stands for a free port, in the URL too
    start: str = "10m"
    idle: str = "5m"  # stop it after this time without a request; "" never

    def served(self) -> dict[str, str]:
        """Return the names that clients use, each with the venue's own."""
        return dict(self.models) if isinstance(self.models, dict) else {name: name for name in self.models}

    def pools(self) -> list[str]:
        """Return what the plan may call it."""
        return [self.pool] if isinstance(self.pool, str) else self.pool or [self.name]

    @property
    def reads_load(self) -> bool:
        """Whether its engine says what load it has."""
        return self.kind in _READS_LOAD


class Rule(_Table, frozen=True):
    """Calls that may wait, by what they are: each field that is given must be alike."""

    deadline: str
    workload: str = ""
    model: str | None = None
    tenant: str | None = None
    key: str | None = None
    endpoint: str | None = None
    by_client: bool = False  # takes no call: those of this workload of the plan say themselves that they can wait


class Webhook(_Table, frozen=True):
    """Where to tell of batches and background responses that ended."""

    url: Text
    secret_env: str | None = None
    secret_file: str | None = None
    tenant: str | None = None  # all, if not given


class Telemetry(_Table, frozen=True):
    """Where spans and metrics go; the `OTEL_*` variables of the environment say the rest, or all of it."""

    otlp_endpoint: str = ""  # such as http://localhost:4318
    traces_per_second: Annotated[float, msgspec.Meta(ge=0)] = 10.0  # begun here; a client's own are as it says


class Settings(_Table, frozen=True):
    """The whole file."""

    plan: str = ""  # a plan to carry out
    plan_start: str = ""  # when a first slot of it begins; as the plan says, if not given
    server: Server = Server()
    store: Store = Store()
    limits: Limits = Limits()
    lanes: Lanes = Lanes()
    telemetry: Telemetry = Telemetry()
    venue: list[VenueTable] = []
    rule: list[Rule] = []
    webhook: list[Webhook] = []

    @property
    def blobs_url(self) -> str:
        """Where blobs are: as given, or beside the SQLite file."""
        if self.store.blobs:
            return self.store.blobs
        path = Path(self.store.url.removeprefix("sqlite:///")).resolve()
        return f"file://{path.parent / 'blobs'}"


def read(path: Path) -> Settings:
    """Read and check a configuration.

    Raises:
        ConfigError: It cannot be read, or a field of it is wrong; says which.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            error.strerror or "cannot be read", where=str(path), fix="give the path of a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not TOML: {error}", where=str(path)) from error
    return settings_of(found, where=str(path))


def local(model: str, command: list[str], seats: int) -> Settings:
    """Return the settings of a gateway on this machine alone: its own engine, and no keys."""
    venue = VenueTable(
        name="local",
        url="http://127.0.0.1:{port}/v1",
        kind="llama.cpp",
        models=[model],
        max_concurrency=seats,
        command=command,
        start="1m",
    )
    return Settings(server=Server(require_keys=False), venue=[venue])


def settings_of(found: dict[str, Any], *, where: str) -> Settings:
    """Check a configuration that was read."""
    try:
        settings = msgspec.convert(found, Settings, strict=True, dec_hook=_decimal)
    except msgspec.ValidationError as error:
        message, _, field = str(error).partition(" - at `$.")
        raise ConfigError(message, where=f"{where}: {field.rstrip('`')}" if field else where) from None
    _check(settings, where)
    return settings


def duration_s(text: str) -> float:
    """Read a duration that was checked."""
    seconds = parse_duration_s(text)
    if seconds is None:
        raise ConfigError(f"{text!r} is not a duration", fix="write 90s, 30m, 4h or 2d")
    return seconds


def check_deadline(text: str, *, where: str) -> None:
    """Check a deadline of the configuration or of a key.

    Raises:
        ConfigError: The text is not a deadline.
    """
    try:
        parse_deadline(text)
    except WorkloadsError as error:
        raise ConfigError(error.what, where=where, fix=error.fix) from None


def secret(env: str | None, file: str | None, *, where: str) -> str | None:
    """Return a secret from the environment or from a file; None if neither is named."""
    if env is not None:
        value = os.environ.get(env)
        if not value:
            raise ConfigError(f"the environment variable {env} is not set", where=where, fix="set it, or name another")
        return value
    if file is not None:
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}", where=where) from error
    return None


def epoch_s(text: str) -> float:
    """Read a time that was checked."""
    moment = _moment(text)
    if moment is None:
        raise ConfigError(f"{text!r} is not a time with its zone", fix="write 2026-11-30T00:00:00Z")
    return moment.timestamp()


def _moment(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _decimal(kind: type, value: object) -> object:
    if kind is Decimal and isinstance(value, int | float):
        return Decimal(str(value))
    raise NotImplementedError(kind)


def _check(settings: Settings, where: str) -> None:
    times = {
        "server.drain": settings.server.drain,
        "store.lease": settings.store.lease,
        "limits.longest_window": settings.limits.longest_window,
        "limits.request_time": settings.limits.request_time,
        "lanes.ttft": settings.lanes.ttft,
        "lanes.tpot": settings.lanes.tpot,
        "lanes.flex_deadline": settings.lanes.flex_deadline,
        "lanes.background_window": settings.lanes.background_window,
        "lanes.margin": settings.lanes.margin,
    }
    for field, text in times.items():
        if not parse_duration_s(text):
            raise ConfigError(f"{text!r} is not a duration", where=f"{where}: {field}", fix="write 90s, 30m, 4h or 2d")
    for number, rule in enumerate(settings.rule):
        check_deadline(rule.deadline, where=f"{where}: rule[{number}].deadline")
    if settings.server.log not in LOG_FORMATS:
        raise ConfigError(f"{settings.server.log!r} is neither text nor json", where=f"{where}: server.log")
    if settings.lanes.flex not in {"hold", "refuse"}:
        raise ConfigError(f"{settings.lanes.flex!r} is neither hold nor refuse", where=f"{where}: lanes.flex")
    if settings.plan_start and _moment(settings.plan_start) is None:
        fix = "write 2026-11-30T00:00:00Z"
        raise ConfigError(f"{settings.plan_start!r} is not a time with its zone", where=f"{where}: plan_start", fix=fix)
    if not settings.store.blobs and not settings.store.url.startswith("sqlite:///"):
        raise ConfigError("not given", where=f"{where}: store.blobs", fix="write file:///PATH or s3://BUCKET")
    endpoint = settings.telemetry.otlp_endpoint
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise ConfigError(f"{endpoint!r} is not an http URL", where=f"{where}: telemetry.otlp_endpoint")
    _check_venues(settings, where)
    _check_webhooks(settings, where)


def _check_webhooks(settings: Settings, where: str) -> None:
    for webhook in settings.webhook:
        if not webhook.url.startswith(("http://", "https://")):
            raise ConfigError(f"{webhook.url!r} is not an http URL", where=f"{where}: webhook")


def _check_venues(settings: Settings, where: str) -> None:
    seen: set[str] = set()
    for venue in settings.venue:
        at = f"{where}: venue {venue.name}"
        if venue.name in seen:
            raise ConfigError("there are two of this name", where=at)
        seen.add(venue.name)
        _check_venue(venue, at)


def _check_venue(venue: VenueTable, at: str) -> None:
    if venue.kind not in KINDS:
        raise ConfigError(f"unknown kind {venue.kind!r}", where=at, fix=f"the kinds are {', '.join(KINDS)}")
    if venue.batch and venue.reads_load:
        raise ConfigError(f"{venue.kind} has no batch API", where=f"{at}: batch", fix="leave it out")
    if not venue.url.startswith(("http://", "https://")) and (venue.url or venue.kind not in _KNOWN):
        raise ConfigError(f"{venue.url!r} is not an http URL", where=at)
    if not venue.served():
        raise ConfigError("serves no model", where=at, fix='write models = ["name"]')
    times = {"start": venue.start, "batch_window": venue.batch_window, "batch_poll": venue.batch_poll}
    for field, text in (times | {"idle": venue.idle or "1s"}).items():
        if not parse_duration_s(text):
            raise ConfigError(f"{text!r} is not a duration", where=f"{at}: {field}", fix="write 90s, 30m or 4h")
    if venue.command and "{port}" not in venue.url:
        raise ConfigError("its url has no {port}", where=at, fix='write url = "http://127.0.0.1:{port}/v1"')
    strange = sorted(set(venue.lanes) - {"realtime", "deferrable"})
    if strange or not venue.lanes:
        raise ConfigError(f"no lane {strange}", where=at, fix="the lanes are realtime and deferrable")
