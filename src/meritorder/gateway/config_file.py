"""The configuration file of the gateway: one TOML file, validated as a whole at startup."""

import datetime as dt
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from meritorder.deadlines import parse_deadline
from meritorder.documents import read_file
from meritorder.domain import PricingModel
from meritorder.errors import ConfigError, WorkloadsError
from meritorder.gateway.config import (
    DEFERRABLE,
    DURATION_FIX,
    LOG_FORMATS,
    PROVIDERS,
    REALTIME,
    WEBHOOK_FORMATS,
    PriceTable,
    RetentionTable,
    Settings,
    VenueKind,
    VenueTable,
    WebhookTable,
)
from meritorder.units import MAX_USD_PER_HOUR, SECONDS_PER_DAY, parse_duration_s

_MIN_LEDGER_S: Final = 2 * SECONDS_PER_DAY  # a day is summed once it is over


def read(path: Path) -> Settings:
    """Return the validated configuration of a TOML file.

    Raises:
        ConfigError: The file cannot be read, or one of its fields is invalid.
    """
    try:
        document = tomllib.loads(read_file(path).decode())
    except OSError as error:
        raise ConfigError(
            error.strerror or "cannot be read", where=str(path), fix="give the path of a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"not TOML: {error}", where=str(path)) from error
    return parse_settings(document, where=str(path))


def check_deadline(text: str, *, where: str) -> None:
    """Validate a deadline of the configuration or of a key.

    Raises:
        ConfigError: The text is not a deadline.
    """
    try:
        parse_deadline(text)
    except WorkloadsError as error:
        raise ConfigError(error.what, where=where, fix=error.fix) from None


def batch_price_of(venue: VenueTable) -> PriceTable | None:
    """Return the prices of a venue's batch API: by default half of those of calls, as OpenAI and others charge."""
    price = venue.price
    if venue.batch_price is not None or price is None:
        return venue.batch_price
    halves = {name: None if usd is None else usd / 2 for name, usd in msgspec.structs.asdict(price).items()}
    return msgspec.structs.replace(price, **halves)


def parse_settings(document: dict[str, Any], *, where: str) -> Settings:
    """Return the validated settings of a parsed TOML document.

    Raises:
        ConfigError: A field is invalid.
    """
    try:
        settings = msgspec.convert(document, Settings, strict=True, dec_hook=_decimal)
    except msgspec.ValidationError as error:
        message, _, field = str(error).partition(" - at `$.")
        raise ConfigError(message, where=f"{where}: {field.rstrip('`')}" if field else where) from None
    _check(settings, where)
    return settings


def _decimal(kind: type, value: object) -> object:
    if kind is Decimal and isinstance(value, int | float):
        return Decimal(str(value))
    raise NotImplementedError(kind)  # so msgspec wants to hear of a type that it has to refuse itself


def _check(settings: Settings, where: str) -> None:
    durations = {
        "server.drain": settings.server.drain,
        "store.lease": settings.store.lease,
        "limits.longest_window": settings.limits.longest_window,
        "limits.request_time": settings.limits.request_time,
        "limits.client_time": settings.limits.client_time,
        "lanes.ttft": settings.lanes.ttft,
        "lanes.tpot": settings.lanes.tpot,
        "lanes.flex_deadline": settings.lanes.flex_deadline,
        "lanes.background_window": settings.lanes.background_window,
        "lanes.margin": settings.lanes.margin,
    }
    _check_durations(durations, where)
    _check_retention(settings.retention, where)
    for number, rule in enumerate(settings.rule):
        check_deadline(rule.deadline, where=f"{where}: rule[{number}].deadline")
    if settings.server.log not in LOG_FORMATS:
        raise ConfigError(f"{settings.server.log!r} is neither text nor json", where=f"{where}: server.log")
    if settings.lanes.flex not in {"hold", "refuse"}:
        raise ConfigError(f"{settings.lanes.flex!r} is neither hold nor refuse", where=f"{where}: lanes.flex")
    if settings.plan_start:
        epoch_s(settings.plan_start, where=f"{where}: plan_start")
    if not settings.store.blobs and not settings.store.url.startswith("sqlite:///"):
        raise ConfigError("not given", where=f"{where}: store.blobs", fix="write file:///PATH or s3://BUCKET")
    if settings.telemetry.otlp_endpoint:
        _check_url(settings.telemetry.otlp_endpoint, f"{where}: telemetry.otlp_endpoint")
    names: set[str] = set()
    for venue in settings.venue:
        at = f"{where}: venue {venue.name}"
        if venue.name in names:
            raise ConfigError("another venue has the same name", where=at)
        names.add(venue.name)
        _check_venue(venue, at)
    for webhook in settings.webhook:
        _check_webhook(webhook, f"{where}: webhook")


def _check_durations(durations: dict[str, str], where: str) -> None:
    for field, text in durations.items():
        if not parse_duration_s(text):
            raise ConfigError(f"{text!r} is not a duration", where=f"{where}: {field}", fix=DURATION_FIX)


def _check_retention(retention: RetentionTable, where: str) -> None:
    fields = {"bodies": retention.bodies, "ledger": retention.ledger, "sums": retention.sums}
    given = {f"retention.{field}": text for field, text in fields.items() if text}
    _check_durations(given, where)
    ledger_s, sums_s = (parse_duration_s(text) if text else None for text in (retention.ledger, retention.sums))
    if ledger_s is not None and ledger_s < _MIN_LEDGER_S:
        raise ConfigError(f"{retention.ledger!r} is too short", where=f"{where}: retention.ledger", fix="write 2d")
    if sums_s is not None and (ledger_s is None or sums_s < ledger_s):
        fix = "keep sums at least as long as rows, whose retention.ledger must be given"
        raise ConfigError("shorter than that of the rows", where=f"{where}: retention.sums", fix=fix)


def _check_url(url: str, where: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is not an http URL", where=where)


def _check_webhook(webhook: WebhookTable, at: str) -> None:
    if bool(webhook.url) == (webhook.url_env is not None):
        raise ConfigError("give exactly one of the two", where=f"{at}: url and url_env")
    if webhook.url_env is None or webhook.target:  # commands that send nothing do without the variable
        _check_url(webhook.target, at if webhook.url_env is None else f"{at}: the variable {webhook.url_env}")
    if webhook.format not in WEBHOOK_FORMATS:
        raise ConfigError(f"{webhook.format!r} is neither json nor slack", where=f"{at}: format")


def _check_venue(venue: VenueTable, at: str) -> None:
    if venue.kind not in set(VenueKind):
        raise ConfigError(f"unknown kind {venue.kind!r}", where=at, fix=f"the kinds are {', '.join(VenueKind)}")
    if venue.batch and venue.reads_load:
        raise ConfigError(f"{venue.kind} has no batch API", where=f"{at}: batch", fix="leave it out")
    if venue.responses not in {"auto", "native", "chat"}:
        raise ConfigError(f"{venue.responses!r} is not auto, native or chat", where=f"{at}: responses")
    if venue.url or venue.kind not in PROVIDERS:
        _check_url(venue.url, at)
    if not venue.served():
        raise ConfigError("serves no model", where=at, fix='write models = ["name"]')
    durations = {"start": venue.start, "batch_window": venue.batch_window, "batch_poll": venue.batch_poll}
    optional = {"idle": venue.idle, "minimum_billing": venue.minimum_billing}
    _check_durations(durations | {field: text for field, text in optional.items() if text}, at)
    _check_machine(venue, at)
    if venue.command and "{port}" not in venue.url:
        raise ConfigError("its url has no {port}", where=at, fix='write url = "http://127.0.0.1:{port}/v1"')
    unknown = sorted(set(venue.lanes) - {REALTIME, DEFERRABLE})
    if unknown or not venue.lanes:
        raise ConfigError(f"unknown lanes {unknown}", where=at, fix="the lanes are realtime and deferrable")


def _check_machine(venue: VenueTable, at: str) -> None:
    if venue.pricing_model not in set(PricingModel):
        fix = f"the pricing models are {', '.join(PricingModel)}"
        raise ConfigError(f"unknown pricing model {venue.pricing_model!r}", where=f"{at}: pricing_model", fix=fix)
    usd = venue.usd_per_hour
    if usd is not None and not (usd.is_finite() and 0 <= usd <= MAX_USD_PER_HOUR):
        fix = f"give dollars from 0 to {MAX_USD_PER_HOUR:,}"
        raise ConfigError(f"{usd} is not a price per hour", where=f"{at}: usd_per_hour", fix=fix)


def epoch_s(text: str, *, where: str | None = None) -> float:
    """Return the epoch seconds of an instant with a time zone."""
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        what = f"{text!r} is not an instant with a time zone"
        raise ConfigError(what, where=where, fix="write 2026-11-30T00:00:00Z")
    return instant.timestamp()
