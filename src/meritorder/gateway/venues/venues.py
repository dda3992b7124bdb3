"""The venues of this gateway: which serves a model, in merit order, and who sits where."""

import asyncio
import datetime as dt
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec

from meritorder.gateway.config import PriceTable, Settings, VenueTable, duration_s, read_secret
from meritorder.gateway.upstreams import kinds
from meritorder.gateway.upstreams.batches.venue import BatchVenue
from meritorder.gateway.upstreams.guard import Guard
from meritorder.gateway.upstreams.kinds import Runtime, VenueKind
from meritorder.gateway.upstreams.limits import RateLimits
from meritorder.gateway.upstreams.openai import Priority
from meritorder.gateway.upstreams.upstream import EngineLoad, Upstream
from meritorder.gateway.venues.engines import Engine, EngineCommand
from meritorder.gateway.venues.pace import Pace
from meritorder.gateway.wire.usage import Usage
from meritorder.units import PICOUSD_PER_USD, TOKENS_PER_MTOK

_PROVIDER_SEQUENCES: Final = 64
_STREAMED: Final = frozenset({"/v1/chat/completions", "/v1/completions"})
_SAMPLES: Final = 256
_PATIENCE_S: Final = 10.0
_PRIORITY: Final = {"vllm": Priority.LOWER_FIRST, "sglang": Priority.HIGHER_FIRST}


class LatencySample(msgspec.Struct, frozen=True, gc=False):
    """How long a first token, or one of those after it, took real time; and when that was known."""

    at_s: float
    latency_s: float


@dataclass(eq=False, slots=True)
class RunningRequest:
    """A deferrable request at a venue; `task` is cancelled to call it back. An urgent one is not called back."""

    task: "asyncio.Task[None]"
    urgent: bool = False
    tokens: int = 0
    preempted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rates:
    """What a token costs, in picodollars: whole numbers where they are, for every request is multiplied with them."""

    input: int | Decimal
    cached: int | Decimal
    output: int | Decimal

    @classmethod
    def of(cls, price: PriceTable) -> "_Rates":
        cached = price.input_usd_per_mtok if price.cached_usd_per_mtok is None else price.cached_usd_per_mtok
        return cls(
            input=_picousd_per_token(price.input_usd_per_mtok),
            cached=_picousd_per_token(cached),
            output=_picousd_per_token(price.output_usd_per_mtok),
        )


def _picousd_per_token(usd_per_mtok: Decimal) -> int | Decimal:
    exact = usd_per_mtok * PICOUSD_PER_USD / TOKENS_PER_MTOK
    return int(exact) if exact == int(exact) else exact


@dataclass(slots=True, kw_only=True)
class Venue:
    """A venue and who is there.

    Args:
        table: Its configuration.
        upstream: How it is reached.
        served: Names that clients use, each with the venue's own.
        batches: Its batch API; None if that is not used.
        engine: What we run there; None if others do.
        realtime: Real-time requests that are there.
        starting: Those of them that are streamed, and wait for their first token.
        seated: Deferrable requests that are there.
        ttfts: First tokens of real time, lately.
        tpots: The paces of its requests that ended.
        pace: That of its streams that are under way.
        load: What it says of itself; None if that cannot be read.
        prompts: Most that it may read at one time with deferrable ones among them; None for any number.
    """

    table: VenueTable
    upstream: Upstream
    served: dict[str, str]
    batches: BatchVenue | None = None
    engine: Engine | None = None
    realtime: int = 0
    deferrable: list[RunningRequest] = field(default_factory=list)
    prefilling: int = 0
    ttfts: deque[LatencySample] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    tpots: deque[LatencySample] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    pace: Pace = field(default_factory=Pace)
    load: EngineLoad | None = None
    max_prefilling: int | None = None
    _rates: _Rates | None = field(init=False)

    def __post_init__(self) -> None:
        self._rates = None if self.table.price is None else _Rates.of(self.table.price)

    @property
    def name(self) -> str:
        """Its name."""
        return self.table.name

    @property
    def is_engine(self) -> bool:
        """Whether it is an engine of ours, whose idle seats cost nothing, and whose streams can be called back."""
        return self.table.reads_load

    @property
    def max_sequences(self) -> int:
        """Most requests at one time: as configured, as the engine says, or a provider's usual."""
        if self.table.max_concurrency is not None:
            return self.table.max_concurrency
        if self.load is not None and self.load.max_sequences is not None:
            return self.load.max_sequences
        return _PROVIDER_SEQUENCES

    def streams(self, endpoint: str) -> bool:
        """Whether deferrable requests go there as a stream, so that they can be called back."""
        return self.is_engine and endpoint in _STREAMED

    def add_realtime(self, *, streamed: bool) -> None:
        """Count a real-time request in; where there is no seat or no turn to be read, a deferrable one gives up its."""
        self.realtime += 1
        self.prefilling += streamed
        if not self.is_engine:
            return
        if self.realtime + len(self.deferrable) > self.max_sequences:
            self.preempt(1)
        if streamed and self.max_prefilling is not None:
            beside = sum(seat.tokens == 0 and not (seat.preempted or seat.urgent) for seat in self.deferrable)
            self.preempt(min(beside, self.prefilling + beside - self.max_prefilling))

    def record_first_token(self, now_s: float, ttft_s: float) -> None:
        """Take note of the first token of a streamed real-time request."""
        self.prefilling -= 1
        self.ttfts.append(LatencySample(now_s, ttft_s))

    def remove_realtime(self, now_s: float, tpot_s: float | None, *, starting: bool) -> None:
        """Count a real-time request out; `starting` if it is one that was streamed, and went before its first token."""
        self.realtime -= 1
        self.prefilling -= starting
        if tpot_s is not None:
            self.tpots.append(LatencySample(now_s, tpot_s))

    def preempt(self, count: int) -> None:
        """Take deferrable requests out of their seats: those with the least work done, of these the last to come."""
        if count <= 0:
            return
        there = (seat for seat in reversed(self.deferrable) if not seat.preempted and not seat.urgent)
        for seat in sorted(there, key=lambda seat: seat.tokens)[:count]:
            seat.preempted = True
            seat.task.cancel()

    def cost_picousd(self, usage: Usage) -> int | None:
        """Return what tokens cost here; None where the venue has no price."""
        rates = self._rates
        if rates is None:
            return None
        return int(
            (usage.input_tokens - usage.cached_tokens) * rates.input
            + usage.cached_tokens * rates.cached
            + usage.output_tokens * rates.output
        )


class Venues:
    """All venues."""

    def __init__(self, venues: Sequence[Venue]) -> None:
        self.all = tuple(venues)
        self._by_lane: dict[tuple[str, str], tuple[Venue, ...]] = {}
        for lane in ("realtime", "deferrable"):
            for model in self.models():
                those = [v for v in self.all if model in v.served and lane in v.table.lanes]
                self._by_lane[model, lane] = tuple(sorted(those, key=_merit))

    def models(self) -> frozenset[str]:
        """Return the names that clients may use."""
        return frozenset(model for venue in self.all for model in venue.served)

    def serving(self, model: str, lane: str) -> tuple[Venue, ...]:
        """Return the venues that serve a model in a lane, in merit order: the cheapest first, fallbacks last."""
        return self._by_lane.get((model, lane), ())

    async def close(self) -> None:
        """Close what is open towards all of them."""
        for venue in self.all:
            await venue.upstream.close()
            if venue.batches is not None:
                await venue.batches.close()


def of(settings: Settings, watched: Callable[[Upstream], Upstream] = lambda upstream: upstream) -> Venues:
    """Return the venues of a configuration.

    Args:
        settings: The configuration.
        watched: Puts whoever watches each attempt around a venue.

    Raises:
        ConfigError: A secret is not where it is said to be.
    """
    world = Runtime(clock=time.monotonic, now=_now, draw=random.random, watched=watched)
    return Venues([_venue(table, settings, world) for table in settings.venue])


def _venue(table: VenueTable, settings: Settings, world: Runtime) -> Venue:
    # An engine keeps its own queue; a provider is not to be asked for more than it allows.
    concurrency = None if table.reads_load else table.max_concurrency
    venue = kinds.VenueSpec(
        name=table.name,
        kind=VenueKind(table.kind),
        base_url=table.url,
        api_key=read_secret(table.api_key_env, table.api_key_file, where=f"venue {table.name}"),
        models=table.served(),
        priority=_PRIORITY.get(table.kind, Priority.NONE) if table.priority else Priority.NONE,
        max_sequences=table.max_concurrency,
        timeout_s=duration_s(settings.limits.request_time),
        guard=Guard(
            limits=RateLimits(concurrency=concurrency, tokens_per_minute=table.tokens_per_minute),
            patience_s=_PATIENCE_S,
        ),
    )
    engine = None
    if not table.command:
        upstream = kinds.upstream(venue, world)
    else:
        command = EngineCommand(
            argv=tuple(table.command),
            venue=venue.openai(),
            start_s=duration_s(table.start),
            idle_s=duration_s(table.idle) if table.idle else None,
        )
        engine = Engine(command, clock=world.clock)
        upstream = kinds.guarded(engine, venue.guard, world)
    batches = kinds.batch_venue(venue, world) if table.batch else None
    return Venue(table=table, upstream=upstream, served=table.served(), batches=batches, engine=engine)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _merit(venue: Venue) -> tuple[bool, Decimal]:
    """The marginal cost of a request: nothing on an engine that is paid for anyway, else the price of its tokens."""
    price: PriceTable | None = venue.table.price
    if price is None:
        return venue.table.fallback, Decimal(0)
    return venue.table.fallback, price.input_usd_per_mtok + price.output_usd_per_mtok
