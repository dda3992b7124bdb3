"""The venues of this gateway: which serves a model, in merit order, and what runs at each."""

import asyncio
import datetime as dt
import random
import time
from collections import deque
from collections.abc import Callable, KeysView, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec

from meritorder.gateway.config import (
    DEFERRABLE,
    REALTIME,
    PriceTable,
    Settings,
    VenueKind,
    VenueTable,
    duration_s,
    read_secret,
)
from meritorder.gateway.config_file import batch_price_of
from meritorder.gateway.peers import WHOLE, Share
from meritorder.gateway.state.entries import Place
from meritorder.gateway.upstreams import kinds
from meritorder.gateway.upstreams.batches.venue import BatchVenue
from meritorder.gateway.upstreams.guard import Guard
from meritorder.gateway.upstreams.openai import Priority
from meritorder.gateway.upstreams.rates import RateLimits
from meritorder.gateway.upstreams.responses.upstream import ResponsesApi
from meritorder.gateway.upstreams.upstream import EngineLoad, Runtime, Upstream
from meritorder.gateway.venues.engines import Engine, EngineCommand
from meritorder.gateway.venues.rented import Rented
from meritorder.gateway.wire.usage import StreamMeter, Usage
from meritorder.metering.words import BATCH_TOKENS, MACHINE, TOKENS
from meritorder.units import PICOUSD_PER_USD, TOKENS_PER_MTOK

_PROVIDER_SEQUENCES: Final = 64
_STREAMED: Final = frozenset({"/v1/chat/completions", "/v1/completions"})
_MAX_SAMPLES: Final = 256
_PACE_SAMPLES: Final = 4
_MIN_PACE_TOKENS: Final = 4
_PATIENCE_S: Final = 10.0
_PRIORITY: Final = {"vllm": Priority.LOWER_FIRST, "sglang": Priority.HIGHER_FIRST}


class LatencySample(msgspec.Struct, frozen=True, gc=False):
    """A latency of real-time work, a TTFT or a TPOT, and when it was measured."""

    at_s: float
    latency_s: float


class StreamPace:
    """The TPOT of the real-time streams in progress, known long before they end."""

    def __init__(self) -> None:
        self._events: dict[StreamMeter, int] = {}
        self._sampled_s = 0.0
        self._recent: deque[tuple[float, int]] = deque(maxlen=_PACE_SAMPLES)

    def add(self, meter: StreamMeter) -> None:
        """Include a stream, from its first token."""
        self._events[meter] = -1

    def remove(self, meter: StreamMeter) -> None:
        """Drop a stream."""
        self._events.pop(meter, None)

    @property
    def meters(self) -> KeysView[StreamMeter]:
        """The streams in progress."""
        return self._events.keys()

    def sample_tpot_s(self, now_s: float) -> float | None:
        """Return the time per token of all streams over the last few samples; None if there were too few tokens."""
        elapsed_s, generated, streams = now_s - self._sampled_s, 0, 0
        for meter, before in self._events.items():
            if before >= 0:
                generated += meter.events - before
                streams += 1
            self._events[meter] = meter.events
        self._sampled_s = now_s
        self._recent.append((elapsed_s * streams, generated))
        tokens = sum(count for _, count in self._recent)
        return sum(stream_s for stream_s, _ in self._recent) / tokens if tokens >= _MIN_PACE_TOKENS else None


@dataclass(eq=False, slots=True)
class RunningRequest:
    """A deferrable request that runs at a venue.

    Args:
        task: Cancelled to preempt it.
        urgent: Whether its deadline is near: it is not preempted.
        tokens: Output tokens so far.
        preempted: Whether it was preempted.
    """

    task: "asyncio.Task[None]"
    urgent: bool = False
    tokens: int = 0
    preempted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _TokenRates:
    """Prices of a token in picodollars: integers where exact, since they are multiplied with every request."""

    input: int | Decimal
    cached: int | Decimal
    output: int | Decimal

    @classmethod
    def from_price(cls, price: PriceTable) -> "_TokenRates":
        cached = price.input_usd_per_mtok if price.cached_usd_per_mtok is None else price.cached_usd_per_mtok
        return cls(
            input=_picousd_per_token(price.input_usd_per_mtok),
            cached=_picousd_per_token(cached),
            output=_picousd_per_token(price.output_usd_per_mtok),
        )

    def cost_picousd(self, usage: Usage) -> int:
        return int(
            (usage.input_tokens - usage.cached_tokens) * self.input
            + usage.cached_tokens * self.cached
            + usage.output_tokens * self.output
        )


def _picousd_per_token(usd_per_mtok: Decimal) -> int | Decimal:
    exact = usd_per_mtok * PICOUSD_PER_USD / TOKENS_PER_MTOK
    return int(exact) if exact == int(exact) else exact


@dataclass(slots=True, kw_only=True)
class Venue:
    """A venue and the requests that run there.

    Args:
        table: Its configuration.
        upstream: The client of its API.
        served: Model names that clients use, each with the venue's own.
        batches: The client of its batch API; None if that is not used.
        engine: The engine that we start and stop there; None if others operate it.
        rented: The machine that is paid by time; None if it has no price by time.
        share: Of its limits, for this process.
        realtime_elsewhere: Real-time requests that run there for other processes of this gateway.
        deferrable_elsewhere: Deferrable ones.
        realtime: Real-time requests that run there.
        deferrable: Deferrable requests that run there.
        prefilling: Streamed real-time requests that wait for their first token.
        ttfts: TTFTs of recent real-time requests.
        tpots: TPOTs of recent real-time requests.
        pace: TPOT of the real-time streams in progress.
        load: Load that the engine reported last; None if unknown.
        max_prefilling: Sequences that may be in prefill while some are deferrable; None for no limit.
        is_draining: Whether it admits nothing more, because its machine will be taken away.
    """

    table: VenueTable
    upstream: Upstream
    served: dict[str, str]
    batches: BatchVenue | None = None
    engine: Engine | None = None
    rented: Rented | None = None
    share: Share = WHOLE
    realtime_elsewhere: int = 0
    deferrable_elsewhere: int = 0
    realtime: int = 0
    deferrable: list[RunningRequest] = field(default_factory=list)
    prefilling: int = 0
    ttfts: deque[LatencySample] = field(default_factory=lambda: deque(maxlen=_MAX_SAMPLES))
    tpots: deque[LatencySample] = field(default_factory=lambda: deque(maxlen=_MAX_SAMPLES))
    pace: StreamPace = field(default_factory=StreamPace)
    load: EngineLoad | None = None
    max_prefilling: int | None = None
    is_draining: bool = False
    _rates: _TokenRates | None = field(init=False)
    _batch_rates: _TokenRates | None = field(init=False)
    _place: Place | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        price, batch_price = self.table.price, batch_price_of(self.table)
        self._rates = None if price is None else _TokenRates.from_price(price)
        self._batch_rates = None if batch_price is None else _TokenRates.from_price(batch_price)

    @property
    def name(self) -> str:
        """Its name."""
        return self.table.name

    @property
    def replica(self) -> str | None:
        """Id of what runs there: of the last start of our engine, or the venue itself; None at a token API."""
        if self.engine is not None:
            return self.engine.replica
        return self.name if self.rented else None

    @property
    def place(self) -> Place:
        """Where an attempt runs that is sent there now, and what its price is based on."""
        replica, place = self.replica, self._place
        if place is None or place.replica != replica:
            basis = None if self._rates is None else TOKENS
            place = self._place = Place(self.name, replica, MACHINE if self.rented else basis)
        return place

    @property
    def batch_place(self) -> Place:
        """Where requests run that its batch API answers."""
        return Place(self.name, None, None if self._batch_rates is None else BATCH_TOKENS)

    @property
    def in_flight(self) -> int:
        """Requests that run there for all processes of this gateway."""
        return self.realtime + self.realtime_elsewhere + len(self.deferrable) + self.deferrable_elsewhere

    @property
    def is_engine(self) -> bool:
        """Whether it is an engine of ours: idle capacity is free, and its streams can be preempted."""
        return self.table.reads_load

    @property
    def limit(self) -> int:
        """Most requests at one time: as configured, as the engine reports, or a default for providers."""
        reported = None if self.load is None else self.load.max_sequences
        return self.table.max_concurrency or reported or _PROVIDER_SEQUENCES

    @property
    def max_sequences(self) -> int:
        """Most requests of this process at one time."""
        return self.share.of(self.limit)

    def streams(self, endpoint: str) -> bool:
        """Tell whether deferrable requests are sent there as streams, so that they can be preempted."""
        return self.is_engine and endpoint in _STREAMED

    def add_realtime(self, *, streamed: bool) -> None:
        """Count a real-time request in, and preempt deferrable ones if it would have to wait for a sequence."""
        self.realtime += 1
        self.prefilling += streamed
        if not self.is_engine:
            return
        if self.realtime + len(self.deferrable) > self.max_sequences:
            self.preempt(1)
        if streamed and self.max_prefilling is not None:
            deferrable = sum(
                running.tokens == 0 and not (running.preempted or running.urgent) for running in self.deferrable
            )
            self.preempt(min(deferrable, self.prefilling + deferrable - self.max_prefilling))

    def record_first_token(self, now_s: float, ttft_s: float) -> None:
        """Record the first token of a streamed real-time request."""
        self.prefilling -= 1
        self.ttfts.append(LatencySample(now_s, ttft_s))

    def remove_realtime(self, now_s: float, tpot_s: float | None, *, prefilling: bool) -> None:
        """Count a real-time request out.

        Args:
            now_s: Monotonic.
            tpot_s: Its TPOT; None if it had none.
            prefilling: Whether it is a stream that ended before its first token.
        """
        self.realtime -= 1
        self.prefilling -= prefilling
        if tpot_s is not None:
            self.tpots.append(LatencySample(now_s, tpot_s))

    def preempt(self, count: int) -> None:
        """Cancel deferrable requests: those with the fewest tokens, and among these the latest."""
        if count <= 0:
            return
        candidates = (running for running in reversed(self.deferrable) if not running.preempted and not running.urgent)
        for running in sorted(candidates, key=lambda running: running.tokens)[:count]:
            running.preempted = True
            running.task.cancel()

    def cost_picousd(self, usage: Usage) -> int | None:
        """Return the cost of a call's tokens; None if the venue has no price."""
        return None if self._rates is None else self._rates.cost_picousd(usage)

    def batch_cost_picousd(self, usage: Usage) -> int | None:
        """Return the cost of tokens that the venue's batch API answered; None if the venue has no price."""
        return None if self._batch_rates is None else self._batch_rates.cost_picousd(usage)


class Venues:
    """All venues."""

    def __init__(self, venues: Sequence[Venue]) -> None:
        self.all = tuple(venues)
        self._by_lane: dict[tuple[str, str], tuple[Venue, ...]] = {}
        for lane in (REALTIME, DEFERRABLE):
            for model in self.models():
                serving = [venue for venue in self.all if model in venue.served and lane in venue.table.lanes]
                self._by_lane[model, lane] = tuple(sorted(serving, key=_merit))

    def models(self) -> frozenset[str]:
        """Return the model names that clients may use."""
        return frozenset(model for venue in self.all for model in venue.served)

    def serving(self, model: str, lane: str) -> tuple[Venue, ...]:
        """Return the venues that serve a model in a lane, in merit order: the cheapest first, fallbacks last."""
        return self._by_lane.get((model, lane), ())

    async def close(self) -> None:
        """Close the connections to all venues."""
        for venue in self.all:
            await venue.upstream.close()
            if venue.batches is not None:
                await venue.batches.close()


def build_venues(
    settings: Settings, wrap: Callable[[Upstream], Upstream] = lambda upstream: upstream, share: Share = WHOLE
) -> Venues:
    """Build the venues of a configuration.

    Args:
        settings: The configuration.
        wrap: Wraps each upstream, for example to trace every attempt.
        share: Of the limits of the venues, for this process.

    Raises:
        ConfigError: A secret is missing.
    """
    runtime = Runtime(clock=time.monotonic, now=_now, draw=random.random, wrap=wrap)
    return Venues([_build_venue(table, settings, runtime, share) for table in settings.venue])


def _build_venue(table: VenueTable, settings: Settings, runtime: Runtime, share: Share) -> Venue:
    # An engine has its own queue; a provider must not get more than it allows.
    concurrency = None if table.reads_load or table.max_concurrency is None else share.of(table.max_concurrency)
    tokens_per_minute = None if table.tokens_per_minute is None else share.of(table.tokens_per_minute)
    spec = kinds.VenueSpec(
        name=table.name,
        kind=VenueKind(table.kind),
        base_url=table.url,
        api_key=read_secret(table.api_key_env, table.api_key_file, where=f"venue {table.name}"),
        models=table.served(),
        priority=_PRIORITY.get(table.kind, Priority.NONE) if table.priority else Priority.NONE,
        max_sequences=table.max_concurrency,
        timeout_s=duration_s(settings.limits.request_time),
        responses=ResponsesApi(table.responses),
        guard=Guard(
            limits=RateLimits(concurrency=concurrency, tokens_per_minute=tokens_per_minute),
            patience_s=_PATIENCE_S,
        ),
    )
    engine = None
    if not table.command:
        upstream = kinds.build_upstream(spec, runtime)
    else:
        command = EngineCommand(
            argv=tuple(table.command),
            venue=spec.openai(),
            start_s=duration_s(table.start),
            idle_s=duration_s(table.idle) if table.idle else None,
        )
        engine = Engine(command, clock=runtime.clock)
        upstream = kinds.guard_upstream(engine, spec, runtime)
    batches = kinds.build_batch_venue(spec, runtime) if table.batch else None
    return Venue(
        table=table,
        upstream=upstream,
        served=table.served(),
        batches=batches,
        engine=engine,
        rented=Rented.from_table(table),
        share=share,
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _merit(venue: Venue) -> tuple[bool, Decimal]:
    """Sort key: fallbacks last, then by marginal cost, which is zero on an engine that is paid for anyway."""
    price: PriceTable | None = venue.table.price
    if price is None:
        return venue.table.fallback, Decimal(0)
    return venue.table.fallback, price.input_usd_per_mtok + price.output_usd_per_mtok
