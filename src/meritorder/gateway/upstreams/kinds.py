"""The kinds of venues: what each is spoken to in, and what it tells of itself."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from meritorder.gateway.upstreams import anthropic, gemini
from meritorder.gateway.upstreams.batches.anthropic import AnthropicBatches
from meritorder.gateway.upstreams.batches.gemini import GeminiBatches
from meritorder.gateway.upstreams.batches.openai import OpenAIBatches
from meritorder.gateway.upstreams.batches.provider import Surroundings
from meritorder.gateway.upstreams.batches.venue import BatchVenue
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.dialect import TranslatingUpstream
from meritorder.gateway.upstreams.guard import Guard, Guarded
from meritorder.gateway.upstreams.openai import OpenAIUpstream, OpenAIVenue, Priority
from meritorder.gateway.upstreams.upstream import Upstream


class VenueKind(StrEnum):
    """What a venue is."""

    OPENAI = "openai"  # whoever speaks OpenAI's API
    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_CPP = "llama.cpp"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"


_ENGINES: Final = frozenset({VenueKind.VLLM, VenueKind.SGLANG, VenueKind.LLAMA_CPP})


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueSpec:
    """A venue as it is configured.

    Args:
        name: Its name.
        kind: What it is.
        base_url: As the official clients take it; of a provider that is known it may be empty.
        api_key: Its secret; None if it wants none.
        models: What it calls the models, where requests call them otherwise.
        priority: How its engine is told that nobody waits; it must have been started with that.
        max_sequences: Most sequences that its engine runs at one time, where it does not tell.
        timeout_s: Time for a whole answer, where a call does not say.
        guard: How it is protected, and we from it.
    """

    name: str
    kind: VenueKind
    base_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    models: Mapping[str, str] = field(default_factory=dict)
    priority: Priority = Priority.NONE
    max_sequences: int | None = None
    timeout_s: float = 600.0
    guard: Guard = field(default_factory=Guard)

    def endpoint(self) -> Endpoint:
        """Return where it is."""
        key = self.api_key or ""
        if self.kind is VenueKind.ANTHROPIC:
            found = anthropic.endpoint(self.name, key, self.base_url or anthropic.BASE_URL)
        elif self.kind is VenueKind.GEMINI:
            found = gemini.endpoint(self.name, key, self.base_url or gemini.BASE_URL)
        else:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            found = Endpoint(name=self.name, base_url=self.base_url or "https://api.openai.com/v1", headers=headers)
        return replace(found, timeout_s=self.timeout_s)

    def openai(self) -> OpenAIVenue:
        """Return it as one that speaks OpenAI's API."""
        return OpenAIVenue(
            endpoint=self.endpoint(),
            models=self.models,
            priority=self.priority,
            reads_load=self.kind in _ENGINES,
            max_sequences=self.max_sequences,
            completes_responses=self.kind is VenueKind.LLAMA_CPP,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What upstreams are given of the world.

    Args:
        clock: Monotonic seconds.
        now: The date.
        draw: Random shares from 0 to 1, for the spread of retries.
        watched: Puts whoever watches each attempt around a venue.
    """

    clock: Callable[[], float]
    now: Callable[[], dt.datetime]
    draw: Callable[[], float]
    watched: Callable[[Upstream], Upstream] = lambda upstream: upstream


def upstream(venue: VenueSpec, world: Runtime) -> Guarded:
    """Return the way to a venue, with its limits kept and its failures retried."""
    return guarded(_bare(venue, world), venue.guard, world)


def guarded(bare: Upstream, guard: Guard, world: Runtime) -> Guarded:
    """Return an upstream, such as an engine that we run, behind its guard."""
    return Guarded(world.watched(bare), guard, clock=world.clock, draw=world.draw, now=world.now)


def _bare(venue: VenueSpec, world: Runtime) -> Upstream:
    if venue.kind is VenueKind.ANTHROPIC:
        return TranslatingUpstream(venue.endpoint(), anthropic.Anthropic(), models=venue.models, now=world.now)
    if venue.kind is VenueKind.GEMINI:
        return TranslatingUpstream(venue.endpoint(), gemini.Gemini(), models=venue.models, now=world.now)
    return OpenAIUpstream(venue.openai())


def batch_venue(venue: VenueSpec, world: Runtime) -> BatchVenue:
    """Return the way to a venue's batch API."""
    surroundings = Surroundings(now=world.now, draw=world.draw)
    if venue.kind is VenueKind.ANTHROPIC:
        return AnthropicBatches(venue.endpoint(), surroundings, models=venue.models)
    if venue.kind is VenueKind.GEMINI:
        return GeminiBatches(venue.endpoint(), surroundings, models=venue.models)
    return OpenAIBatches(venue.endpoint(), surroundings, models=venue.models)
