"""An engine or provider that speaks OpenAI's API: vLLM, SGLang, llama.cpp, TGI, and most who sell tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from meritorder.gateway.errors import UpstreamError
from meritorder.gateway.upstreams.completed import Completed
from meritorder.gateway.upstreams.connection import Connection, Endpoint
from meritorder.gateway.upstreams.engine_load import parse_max_sequences, parse_metrics, parse_slots
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply

# Longer than any engine needs to say how busy it is.
_LOAD_S: Final = 1.0
# Away from 0, where requests without a priority are, with room between.
_DEFERRABLE_RANK: Final = 100
_RESPONSES: Final = "/v1/responses"


class Priority(StrEnum):
    """What an engine takes a `priority` in a request to mean."""

    NONE = "none"
    LOWER_FIRST = "lower-first"  # vLLM, with --scheduling-policy priority
    HIGHER_FIRST = "higher-first"  # SGLang, with --enable-priority-scheduling


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIVenue:
    """A venue that speaks OpenAI's API.

    Args:
        endpoint: Where it is.
        models: What it calls the models, where requests call them otherwise.
        priority: How deferrable requests are marked.
        reads_load: Whether it is asked for its load: an engine is, a provider is not.
        max_sequences: Most sequences that it runs at one time, where it does not tell.
        completes_responses: Whether what it leaves out of responses is to be filled in.
    """

    endpoint: Endpoint
    models: Mapping[str, str] = field(default_factory=dict)
    priority: Priority = Priority.NONE
    reads_load: bool = False
    max_sequences: int | None = None
    completes_responses: bool = False


class OpenAIUpstream:
    """Sends requests on as they are. See `upstream.Upstream`."""

    def __init__(self, venue: OpenAIVenue) -> None:
        self.name = venue.endpoint.name
        self.connection = Connection(venue.endpoint)
        self._venue = venue
        self._rank = {
            Priority.NONE: None,
            Priority.LOWER_FIRST: _DEFERRABLE_RANK,
            Priority.HIGHER_FIRST: -_DEFERRABLE_RANK,
        }[venue.priority]
        self._max_sequences = venue.max_sequences
        self._asked_max_sequences = venue.max_sequences is not None

    async def send(self, call: Call) -> Reply:
        """Send a request; its body untouched, but for the model's other name and the priority where there is one."""
        reply = await self.connection.post(
            call.path, self._body(call), stream=call.stream, headers=call.headers, timeout_s=call.timeout_s
        )
        if self._venue.completes_responses and call.path == _RESPONSES and reply.status == 200:
            return Completed(reply, call.body)
        return reply

    def _body(self, call: Call) -> bytes:
        model = self._venue.models.get(call.model, call.model)
        rank = self._rank if call.deferrable else None
        if model == call.model and rank is None:
            return call.body
        fields = msgspec.json.decode(call.body, type=dict[str, msgspec.Raw])
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
        if rank is not None:
            fields["priority"] = msgspec.Raw(msgspec.json.encode(rank))
        return msgspec.json.encode(fields)

    async def load(self) -> EngineLoad | None:
        """Return what the engine says of its load; None if it cannot be read."""
        if not self._venue.reads_load:
            return None
        text = await self._text("/metrics")
        if text is not None:
            if not self._asked_max_sequences:
                await self._ask_max_sequences(text)
            return parse_metrics(text, max_sequences=self._max_sequences)
        slots = await self._text("/slots")
        return None if slots is None else parse_slots(slots)

    async def _ask_max_sequences(self, metrics: bytes) -> None:
        self._asked_max_sequences = True
        if b"llamacpp:" in metrics and (props := await self._text("/props")) is not None:
            self._max_sequences = parse_max_sequences(props)

    async def _text(self, path: str) -> bytes | None:
        """Return what is at a path of the server; None if nothing is, or it does not answer."""
        try:
            reply = await self.connection.request("GET", self.connection.beside(path), timeout_s=_LOAD_S)
            try:
                return await reply.read() if reply.status == 200 else None
            finally:
                await reply.close()
        except UpstreamError:
            return None

    async def close(self) -> None:
        """Close what is open towards the venue."""
        await self.connection.close()
