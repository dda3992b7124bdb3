"""A call in flight and, if it may wait, its deadline."""

from dataclasses import dataclass

import msgspec

from meritorder.gateway.store import stored_answers
from meritorder.gateway.store.keys import Key
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
    arrived_s: float
    started_s: float  # monotonic
    ttft_s: float | None = None
    status: int | None = None
    usage: Usage | None = None

    @property
    def stored_as(self) -> str | None:
        """Kind under which the answer is stored: by default for responses, on request for chat completions, or None."""
        if self.endpoint == "/v1/responses":
            return None if self.call.store is False else stored_answers.RESPONSE
        if self.endpoint == "/v1/chat/completions":
            return stored_answers.COMPLETION if self.call.store else None
        return None
