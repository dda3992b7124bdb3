"""A call in flight and, if it may wait, its deadline."""

from dataclasses import dataclass
from typing import Any

import msgspec

from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.calls import CallFields
from meritorder.gateway.wire.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferral:
    """Until when a deferrable call may wait.

    Args:
        deadline_s: Deadline, epoch seconds.
        workload: Name of its workload in the ledger.
    """

    deadline_s: float
    workload: str | None = None


class Request(msgspec.Struct, kw_only=True):
    """A call in flight."""

    id: str
    key: Key
    endpoint: str
    call: CallFields
    body: bytes
    original: bytes | None = None  # as the client sent it, if earlier turns were added to the body
    arrived_s: float
    started_s: float  # monotonic
    ttft_s: float | None = None
    status: int | None = None
    usage: Usage | None = None
    expected_picousd: int = 0
    attempt: int = 0
    waited_s: float = 0.0  # from the arrival to the start of this attempt
    goes_on: bool = False  # whether this attempt failed and another venue is tried

    @property
    def client_body(self) -> bytes:
        """The body as the client sent it."""
        return self.body if self.original is None else self.original

    @property
    def stored_as(self) -> str | None:
        """Kind under which the answer is stored: by default for responses, on request for chat completions, or None."""
        if self.endpoint == "/v1/responses":
            return None if self.call.store is False else stored_answers.RESPONSE
        if self.endpoint == "/v1/chat/completions":
            return stored_answers.COMPLETION if self.call.store else None
        return None

    def queue_row(self, deferral: Deferral, trace: str | None) -> dict[str, Any]:
        """Return the columns of the call in the queue.

        Args:
            deferral: Its deadline and workload.
            trace: The `traceparent` of its span.
        """
        return {
            "id": self.id,
            "tenant": self.key.tenant,
            "key_id": self.key.id,
            "endpoint": self.endpoint,
            "model": self.call.model,
            "body": self.body,
            "body_bytes": len(self.body),
            "input_tokens": calls.estimate_tokens(len(self.body)),
            "output_tokens": self.call.output_tokens,
            "prefix": calls.prefix_hash(self.body),
            "arrived_s": self.arrived_s,
            "deadline_s": deferral.deadline_s,
            "workload": deferral.workload,
            "trace": trace,
            "expected_picousd": self.expected_picousd,
        }
