"""Ledger entries: what an attempt was, where it ran, and how it ended."""

from typing import Final

import msgspec

from meritorder.gateway.config import DEFERRABLE, REALTIME
from meritorder.gateway.state.request import Deferral, Request
from meritorder.gateway.state.supervisor import CLIENT_GONE
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.queue.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.wire.usage import Usage
from meritorder.metering import words

ANSWERED: Final = "answered"
FAILED: Final = "failed"
CUT_OFF: Final = "cut_off"


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where an attempt ran, and what its price is based on."""

    venue: str | None = None
    replica: str | None = None
    price_basis: str | None = None


class Run(msgspec.Struct, frozen=True, gc=False):
    """Where and when an attempt ran; times are epoch seconds."""

    place: Place
    started_s: float
    ended_s: float


def outcome(status_code: int | None) -> str:
    """Return how the last attempt of a request ended."""
    if status_code is None:
        return FAILED
    if 200 <= status_code < 300:
        return ANSWERED
    return CUT_OFF if status_code == CLIENT_GONE else FAILED


def realtime_entry(
    request: Request, place: Place, usage: Usage, *, e2e_s: float, cost_picousd: int | None
) -> LedgerEntry:
    """Return the ledger entry of a real-time request.

    Args:
        request: The request, with its status.
        place: Where it ran.
        usage: Its tokens.
        e2e_s: Time from its arrival to the end of its answer.
        cost_picousd: What it cost; None if the venue has no price.
    """
    return LedgerEntry(
        request_id=request.id,
        arrived_s=request.arrived_s,
        started_s=request.arrived_s + request.waited_s,
        ended_s=request.arrived_s + e2e_s,
        ttft_s=request.ttft_s,
        lane=REALTIME,
        tenant=request.key.tenant,
        key_id=request.key.id,
        model=request.call.model or "",
        endpoint=request.endpoint,
        venue=place.venue,
        status_code=request.status,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        counted=usage.counted,
        cost_picousd=cost_picousd,
        attempt=request.attempt,
        replica=place.replica,
        outcome=words.RETRIED if request.goes_on else outcome(request.status),
        reasoning_tokens=usage.reasoning_tokens,
        price_basis=place.price_basis,
    )


def deferrable_entry(
    request: ClaimedRequest,
    answer: RequestAnswer,
    run: Run,
    *,
    cost_picousd: int | None,
) -> LedgerEntry:
    """Return the ledger entry of a deferrable request that was answered; what was lost is added as it is stored.

    Args:
        request: The request.
        answer: Its answer.
        run: Where it ran, from when it was sent until its answer arrived.
        cost_picousd: What the answer cost; None if the venue has no price.
    """
    return _queued_entry(request, answer, run, outcome(answer.status_code), cost_picousd)


def interrupted_entry(request: ClaimedRequest, run: Run, *, preempted: bool) -> LedgerEntry:
    """Return the ledger entry of an attempt after which its request was queued again.

    What it generated is counted as lost with the answer of the request, however many attempts that takes.
    """
    no_answer = RequestAnswer(request_id=f"{request.batch_seq}-{request.line}", status_code=None)
    return _queued_entry(request, no_answer, run, words.PREEMPTED if preempted else words.RETRIED, 0)


def cut_off_entry(request: Request, deferral: Deferral, status: int, *, ended_s: float) -> LedgerEntry:
    """Return the ledger entry of a deferred call whose connection ended before its answer."""
    return LedgerEntry(
        request_id=request.id,
        arrived_s=request.arrived_s,
        started_s=None,
        ended_s=ended_s,
        ttft_s=None,
        lane=DEFERRABLE,
        tenant=request.key.tenant,
        key_id=request.key.id,
        model=request.call.model or "",
        endpoint=request.endpoint,
        venue=None,
        workload=deferral.workload,
        deadline_s=deferral.deadline_s,
        status_code=status,
        input_tokens=0,
        cached_tokens=0,
        output_tokens=0,
        counted=False,
        cost_picousd=0,
        outcome=outcome(status),
    )


def _queued_entry(
    request: ClaimedRequest, answer: RequestAnswer, run: Run, how_ended: str, cost_picousd: int | None
) -> LedgerEntry:
    return LedgerEntry(
        request_id=request.id or answer.request_id,
        arrived_s=request.arrived_s,
        started_s=run.started_s,
        ended_s=run.ended_s,
        ttft_s=None,
        lane=DEFERRABLE,
        tenant=request.tenant,
        key_id=request.key_id,
        model=request.model,
        endpoint=request.endpoint,
        venue=run.place.venue,
        workload=request.workload,
        deadline_s=request.deadline_s,
        status_code=answer.status_code,
        input_tokens=answer.input_tokens,
        cached_tokens=answer.cached_tokens,
        output_tokens=answer.output_tokens,
        counted=answer.counted,
        cost_picousd=cost_picousd,
        request_seq=request.seq,
        batch_seq=request.batch_seq,
        attempt=request.attempt,
        replica=run.place.replica,
        outcome=how_ended,
        reasoning_tokens=answer.reasoning_tokens,
        price_basis=run.place.price_basis,
    )
