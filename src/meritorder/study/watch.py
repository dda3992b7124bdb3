"""What the tokens of a running engine cost, from its own counters: no gateway and no ledger is needed."""

import http.client
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib import error as url_errors
from urllib import request
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from meritorder import catalog
from meritorder.catalog.machines import find_machine
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError, ConfigError
from meritorder.gateway.config import VenueKind
from meritorder.gateway.upstreams.engine_load import ENGINE_METRICS
from meritorder.records.accounting import TokenCost, WatchedModel, WatchReport
from meritorder.units import (
    BYTES_PER_GIB,
    MAX_USD_PER_HOUR,
    SECONDS_PER_HOUR,
    format_count,
    format_duration,
    usd_per_mtok,
)

Series = tuple[str, bool, frozenset[tuple[str, str]]]
"""A counter of tokens: its model, whether it counts output, and its name and labels."""

_PATH: Final = "/metrics"
_POLL_S: Final = 1.0
_TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = BYTES_PER_GIB // 64
_READ_BYTES: Final = 1 << 16
_PLAIN: Final = re.compile(r"[^\x00-\x20\x7f]+")  # neither spaces nor control characters
_MAX_TOKENS: Final = 2.0**53  # larger counters lose single tokens
_CHECK: Final = "check that the engine runs there, and is ready"
_KEY: Final = "name the variable that holds its key with --api-key-env"
_OPTIONS: Final = [f"{names.option} ({kind})" for kind, names in ENGINE_METRICS.items() if names.option]
_START: Final = f"start the engine with {' or '.join(_OPTIONS)}, or correct the path"
_FIXES: Final = {401: _KEY, 403: _KEY, 404: _START, 501: _START}
_SPLITS: Final = " (--output-weight), which splits the price of the machine between them, and among models"
_MODEL_LABELS: Final = ("model_name", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An engine's counters at one time.

    Args:
        at_s: When they were read, on the clock of the measurement.
        engine: Which engine it is.
        sequences: Sequences that run or wait.
        tokens: Tokens since the engine started, by counter.
        requests: Requests that have ended since then; None if it does not count them.
    """

    at_s: float
    engine: VenueKind
    sequences: float
    tokens: Mapping[Series, float]
    requests: float | None = None

    def after(self, before: "Reading") -> "Reading":
        """Return it with the counters that an earlier reading had and this one lacks, as they were.

        An engine that has started again lacks them until its first request, and several processes may miss some once.
        """
        return replace(self, tokens={**before.tokens, **self.tokens})


@dataclass(slots=True)
class Counted:
    """What was counted between readings."""

    measured_s: float = 0.0
    idle_s: float = 0.0
    unreachable_s: float = 0.0
    restarts: int = 0
    input_tokens: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    output_tokens: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    requests: float = 0.0

    def add(self, before: Reading, after: Reading, *, was_unreachable: bool) -> None:
        """Add the time between two readings.

        A counter that went back belongs to an engine that has started again: all that it shows is new.
        """
        elapsed_s, tokens, has_restarted = after.at_s - before.at_s, 0.0, False
        for series, count in after.tokens.items():
            earlier = before.tokens.get(series, 0.0)
            has_restarted |= count < earlier
            increase = count if count < earlier else count - earlier
            model, is_output, _ = series
            (self.output_tokens if is_output else self.input_tokens)[model] += increase
            tokens += increase
        if after.requests is not None:
            earlier = before.requests or 0.0
            self.requests += after.requests if after.requests < earlier else after.requests - earlier
        self.restarts += has_restarted
        self.measured_s += elapsed_s
        if was_unreachable:
            self.unreachable_s += elapsed_s
        elif not (tokens or before.sequences or after.sequences):
            self.idle_s += elapsed_s


def metrics_url(url: str) -> str:
    """Return the URL of a server's metrics: as given, or `/metrics` of a server that is given without a path.

    Raises:
        ConfigError: It is not a URL of the web.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.netloc or not _PLAIN.fullmatch(url):
        raise ConfigError("is not a URL", where=repr(url), fix="write http://host:port/metrics")
    if "@" in parts.netloc:
        raise ConfigError(
            "has a user or a password", where=parts.netloc.rpartition("@")[2], fix=f"leave it out; {_KEY}"
        )
    return parts._replace(path=_PATH).geturl() if parts.path in {"", "/"} else url


def price_usd_per_hour(machine: str, usd_per_hour: float | None, pricing_model: str) -> float:
    """Return the price of a machine: as given, or that of the catalog.

    Raises:
        ConfigError: Neither or both are given, the price is out of range, or the catalog has none.
    """
    if bool(machine) == (usd_per_hour is not None):
        raise ConfigError(
            "give exactly one of the two",
            where="--machine/--usd-per-hour",
            fix='write --machine "runpod 2x H100 SXM" or --usd-per-hour 5.98',
        )
    if usd_per_hour is not None:
        if not 0 <= usd_per_hour <= MAX_USD_PER_HOUR:
            fix = f"give dollars from 0 to {MAX_USD_PER_HOUR:,}"
            raise ConfigError(f"{usd_per_hour} is not a price per hour", where="--usd-per-hour", fix=fix)
        return usd_per_hour
    if pricing_model not in set(PricingModel):
        known = ", ".join(PricingModel)
        raise ConfigError(f"unknown {pricing_model!r}", where="--pricing-model", fix=f"write one of {known}")
    try:
        return find_machine(catalog.load(()), machine, PricingModel(pricing_model)).usd_per_hour
    except CatalogError as error:
        raise ConfigError(error.what, where="--machine", fix=error.fix) from None


def read_metrics(url: str, api_key: str = "") -> bytes:
    """Return the text of a server's metrics.

    Raises:
        ConfigError: The server cannot be reached, or does not serve them.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        # The scheme was checked: http or https.
        with request.urlopen(request.Request(url, headers=headers), timeout=_TIMEOUT_S) as answer:  # noqa: S310
            content = _read_within(answer)
    except url_errors.HTTPError as error:
        error.close()
        raise ConfigError(f"answered {error.code}", where=url, fix=_FIXES.get(error.code, _CHECK)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigError(f"cannot be read: {reason or type(error).__name__}", where=url, fix=_CHECK) from None
    if len(content) > _MAX_BYTES:
        raise ConfigError("is larger than any engine's metrics", where=url, fix="give the address of its metrics")
    return content


def _read_within(answer: http.client.HTTPResponse) -> bytes:
    """Return the body of an answer, up to one byte more than is allowed.

    Raises:
        TimeoutError: It takes too long as a whole.
    """
    content, ends_s = bytearray(), time.monotonic() + _TIMEOUT_S
    while len(content) <= _MAX_BYTES and (part := answer.read1(_READ_BYTES)):
        content += part
        if time.monotonic() > ends_s:
            raise TimeoutError(f"no end within {format_duration(_TIMEOUT_S)}")
    return bytes(content)


def parse_reading(text: bytes, *, at_s: float, where: str = "") -> Reading:
    """Return an engine's counters from its metrics, in Prometheus' text format.

    Raises:
        ConfigError: The text is something else, or has no counters of a known engine.
    """
    samples: defaultdict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
    try:
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                if 0 <= sample.value <= _MAX_TOKENS:
                    samples[sample.name].append((sample.labels, sample.value))
    except (ValueError, KeyError, IndexError, RecursionError):
        samples.clear()
    for engine, names in ENGINE_METRICS.items():
        counters = (*((name, False) for name in names.input_tokens), (names.output_tokens, True))
        if not any(name in samples for name, _ in counters):
            continue
        return Reading(
            at_s=at_s,
            engine=engine,
            sequences=sum(value for name in (names.running, names.waiting) for _, value in samples.get(name, ())),
            tokens={
                (_model(labels), is_output, frozenset((("", name), *labels.items()))): value
                for name, is_output in counters
                for labels, value in samples.get(name, ())
            },
            requests=sum(value for _, value in samples[names.requests]) if names.requests in samples else None,
        )
    raise ConfigError(
        f"has no counters of {', '.join(ENGINE_METRICS)}",
        where=where,
        fix="give the metrics of such an engine; its first request makes some of them appear",
    )


def _model(labels: Mapping[str, str]) -> str:
    return next((labels[name] for name in _MODEL_LABELS if name in labels), "")


def watch(
    url: str,
    *,
    usd_per_hour: float,
    machine: str = "",
    interval_s: float,
    output_weight: float,
    read: Callable[[str], bytes] = read_metrics,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[str], None] = lambda _: None,
) -> WatchReport:
    """Return what an engine's tokens cost within an interval; Ctrl-C ends it early, with what was measured.

    Args:
        url: URL of its metrics.
        usd_per_hour: Price of all that it runs on.
        machine: Name of that.
        interval_s: How long to measure.
        output_weight: How many input tokens an output token counts as.
        read: Returns the metrics of a URL.
        clock: Returns the seconds of a clock that never goes back.
        sleep: Waits some seconds.
        progress: Receives each step.

    Raises:
        ConfigError: The metrics cannot be read, or are not those of a known engine.
        KeyboardInterrupt: It was interrupted before anything was measured.
    """
    total, was_unreachable = Counted(), False
    last = parse_reading(read(url), at_s=clock(), where=url)
    ends_s = last.at_s + interval_s
    try:
        while (left_s := ends_s - clock()) > 0:
            counted = sum(total.input_tokens.values()) + sum(total.output_tokens.values())
            progress(f"{format_duration(left_s)} left, {format_count(round(counted), 'token')}; Ctrl-C ends it")
            sleep(min(_POLL_S, left_s))
            try:
                reading = parse_reading(read(url), at_s=clock(), where=url).after(last)
            except ConfigError:
                was_unreachable = True
                continue
            total.add(last, reading, was_unreachable=was_unreachable)
            last, was_unreachable = reading, False
    except KeyboardInterrupt:
        if not total.measured_s:
            raise
    if not total.measured_s:
        raise ConfigError("could not be read a second time", where=url, fix="check that the engine still runs")
    return _report(
        total,
        last.engine,
        url,
        machine=machine,
        usd_per_hour=usd_per_hour,
        output_weight=output_weight,
        is_gone=was_unreachable,
    )


def _report(
    total: Counted,
    engine: VenueKind,
    url: str,
    *,
    machine: str,
    usd_per_hour: float,
    output_weight: float,
    is_gone: bool,
) -> WatchReport:
    paid_usd = usd_per_hour * total.measured_s / SECONDS_PER_HOUR
    idle_usd = usd_per_hour * total.idle_s / SECONDS_PER_HOUR
    names = sorted({*total.input_tokens, *total.output_tokens})
    every = _Counts(sum(total.input_tokens.values()), sum(total.output_tokens.values()), output_weight)
    by_model = {name: _Counts(total.input_tokens[name], total.output_tokens[name], output_weight) for name in names}
    shares = {name: paid_usd * counts.weight / every.weight for name, counts in by_model.items() if counts.weight}
    return WatchReport(
        url=url,
        engine=engine.value,
        machine=machine,
        usd_per_hour=usd_per_hour,
        measured_s=total.measured_s,
        idle_s=total.idle_s,
        unreachable_s=total.unreachable_s,
        paid_usd=paid_usd,
        idle_usd=idle_usd,
        input_tokens=round(every.input_tokens),
        output_tokens=round(every.output_tokens),
        usd_per_mtok=every.cost(paid_usd),
        busy_usd_per_mtok=every.cost(paid_usd - idle_usd),
        models=tuple(
            WatchedModel(
                model=name,
                input_tokens=round(counts.input_tokens),
                output_tokens=round(counts.output_tokens),
                paid_usd=shares.get(name, 0.0),
                usd_per_mtok=counts.cost(shares.get(name, 0.0)),
            )
            for name, counts in by_model.items()
        ),
        assumptions=(f"an output token counts as {output_weight:g} input tokens{_SPLITS}",),
        warnings=tuple(_warnings(total, is_gone=is_gone)),
    )


def _warnings(total: Counted, *, is_gone: bool) -> Iterator[str]:
    if total.restarts:
        yield (
            f"its counters went back {format_count(total.restarts, 'time')}: the engine has started again, or several "
            "engines answer at this address; give the address of one"
        )
    if total.unreachable_s:
        yield f"it could not be read for {format_duration(total.unreachable_s)}, which count as busy"
    if is_gone:
        yield f"it could not be read at the end: this is of the first {format_duration(total.measured_s)}"
    if not (any(total.input_tokens.values()) or any(total.output_tokens.values())):
        counted = "nothing ran" if total.idle_s else "no tokens were counted, which some engines do as a request ends"
        yield f"{counted} in {format_duration(total.measured_s)}: watch longer, or while it serves requests"


@dataclass(frozen=True, slots=True)
class _Counts:
    """Tokens, and how many input tokens an output token counts as."""

    input_tokens: float
    output_tokens: float
    output_weight: float

    @property
    def weight(self) -> float:
        """The tokens in input tokens."""
        return self.input_tokens + self.output_weight * self.output_tokens

    def cost(self, usd: float) -> TokenCost | None:
        """Return what a million of them cost if all cost so much; None without tokens."""
        if not self.weight:
            return None
        return TokenCost(
            input_usd=usd_per_mtok(usd, self.weight),
            output_usd=usd_per_mtok(usd, self.weight) * self.output_weight,
            all_usd=usd_per_mtok(usd, self.input_tokens + self.output_tokens),
        )
