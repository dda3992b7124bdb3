"""Venues as configured, and the client for each kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from meritorder.gateway.config import ENGINES, VenueKind
from meritorder.gateway.upstreams.batches.anthropic import AnthropicBatches
from meritorder.gateway.upstreams.batches.gemini import GeminiBatches
from meritorder.gateway.upstreams.batches.openai import OpenAIBatches
from meritorder.gateway.upstreams.batches.venue import BatchVenue
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.dialects import anthropic, gemini
from meritorder.gateway.upstreams.dialects.dialect import TranslatingUpstream
from meritorder.gateway.upstreams.guard import Guard, Guarded
from meritorder.gateway.upstreams.openai import OpenAIUpstream, OpenAIVenue, Priority
from meritorder.gateway.upstreams.responses.upstream import ResponsesApi, ResponsesUpstream
from meritorder.gateway.upstreams.upstream import Runtime, Upstream

# llama.cpp ignores `text.format` and takes some forms of an assistant's message only (b10549, 2026-10).
_WITHOUT_RESPONSES: Final = (VenueKind.LLAMA_CPP, VenueKind.ANTHROPIC, VenueKind.GEMINI)


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueSpec:
    """A venue as configured.

    Args:
        name: Its name.
        kind: Its API.
        base_url: As the official clients take it; may be empty for a known provider.
        api_key: Its secret; None if it needs none.
        models: Its own names of models, by the names that requests use.
        priority: How its engine takes priorities; the engine must have been started with them.
        max_sequences: Most sequences that its engine runs at one time, if it does not report that.
        timeout_s: Time for a whole answer, if a call sets none.
        guard: Its limits and retry rules.
        responses: How it serves responses; those that have none, or in part, always as chat completions.
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
    responses: ResponsesApi = ResponsesApi.AUTO

    def endpoint(self) -> Endpoint:
        """Return its address and headers."""
        key = self.api_key or ""
        if self.kind is VenueKind.ANTHROPIC:
            endpoint = anthropic.endpoint(self.name, key, self.base_url or anthropic.BASE_URL)
        elif self.kind is VenueKind.GEMINI:
            endpoint = gemini.endpoint(self.name, key, self.base_url or gemini.BASE_URL)
        else:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            endpoint = Endpoint(name=self.name, base_url=self.base_url or "https://api.openai.com/v1", headers=headers)
        return replace(endpoint, timeout_s=self.timeout_s)

    def openai(self) -> OpenAIVenue:
        """Return it as a venue with OpenAI's API."""
        return OpenAIVenue(
            endpoint=self.endpoint(),
            models=self.models,
            priority=self.priority,
            reads_load=self.kind in ENGINES,
            max_sequences=self.max_sequences,
            lacks_roles=self.kind is VenueKind.LLAMA_CPP,
        )


def build_upstream(spec: VenueSpec, runtime: Runtime) -> Guarded:
    """Return the client of a venue, with its limits respected and failures retried."""
    return guard_upstream(_bare_upstream(spec, runtime), spec, runtime)


def guard_upstream(bare: Upstream, spec: VenueSpec, runtime: Runtime) -> Guarded:
    """Return an upstream, such as an engine that we start, with its responses translated, behind its guard."""
    api = ResponsesApi.CHAT if spec.kind in _WITHOUT_RESPONSES else spec.responses
    upstream = runtime.wrap(ResponsesUpstream(bare, api))
    return Guarded(upstream, spec.guard, clock=runtime.clock, draw=runtime.draw, now=runtime.now)


def _bare_upstream(spec: VenueSpec, runtime: Runtime) -> Upstream:
    if spec.kind is VenueKind.ANTHROPIC:
        return TranslatingUpstream(spec.endpoint(), anthropic.Anthropic(), models=spec.models, now=runtime.now)
    if spec.kind is VenueKind.GEMINI:
        return TranslatingUpstream(spec.endpoint(), gemini.Gemini(), models=spec.models, now=runtime.now)
    return OpenAIUpstream(spec.openai())


def build_batch_venue(spec: VenueSpec, runtime: Runtime) -> BatchVenue:
    """Return the client of a venue's batch API."""
    if spec.kind is VenueKind.ANTHROPIC:
        return AnthropicBatches(spec.endpoint(), runtime, models=spec.models)
    if spec.kind is VenueKind.GEMINI:
        return GeminiBatches(spec.endpoint(), runtime, models=spec.models)
    return OpenAIBatches(spec.endpoint(), runtime, models=spec.models)
