"""How long deferrable work may wait, and which capacity it may use as its deadline approaches."""

import statistics
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

_UNMEASURED_SHARE: Final = 0.5  # providers commonly finish far within their window
_WAY_BACK_SHARE: Final = 0.25


def latest_backfill_s(deadline_s: float, ahead_tokens: float, completion_tokens_per_s: float, margin_s: float) -> float:
    """Return until when a request may wait for backfill: `deadline - ahead / completion rate - margin`.

    Args:
        deadline_s: Its deadline.
        ahead_tokens: Tokens to complete by then: its own and those of all work due before it.
        completion_tokens_per_s: Measured rate at which backfill completes tokens; 0 if it completes none.
        margin_s: Reserve for the unforeseen.
    """
    if completion_tokens_per_s <= 0:
        return float("-inf")
    return deadline_s - ahead_tokens / completion_tokens_per_s - margin_s


class EscalationLevel(StrEnum):
    """The capacity that a deferrable request may use."""

    BACKFILL = "backfill"  # what real-time work leaves idle
    REALTIME = "realtime"  # any sequence of our own engines, as if the request were real-time
    FALLBACK = "fallback"  # the fallback venue, at its price


def escalation_level(
    deadline_s: float, work_s: float, latest_backfill_s: float, *, own_venue_up: bool, margin_s: float, now_s: float
) -> EscalationLevel:
    """Return the capacity that a request may use now.

    Args:
        deadline_s: Its deadline.
        work_s: Time that it takes alone on our own real-time capacity.
        latest_backfill_s: Until when it may wait for backfill.
        own_venue_up: Whether our own capacity accepts requests at all.
        margin_s: Reserve for the unforeseen.
        now_s: On the clock of the deadline.
    """
    if now_s < latest_backfill_s:
        return EscalationLevel.BACKFILL
    if own_venue_up and now_s + work_s + margin_s <= deadline_s:
        return EscalationLevel.REALTIME
    return EscalationLevel.FALLBACK


def provider_turnaround_s(ended_s: Sequence[float], running_s: Sequence[float], promised_s: float) -> float:
    """Return the time that a provider's batch API is expected to take: the 90th percentile of what it took lately.

    Until a batch has ended, half of the promised window is expected. Batches that already run longer count with their
    age.

    Args:
        ended_s: Turnarounds of recent batches.
        running_s: Ages of the batches that still run.
        promised_s: Completion window that the provider promises.
    """
    if not ended_s:
        measured_s = promised_s * _UNMEASURED_SHARE
    elif len(ended_s) == 1:
        measured_s = ended_s[0]
    else:
        measured_s = statistics.quantiles(ended_s, n=10, method="inclusive")[-1]
    return max(measured_s, *running_s) if running_s else measured_s


def way_back_s(tokens: float, tokens_per_s: float, reserve_s: float, window_s: float) -> float:
    """Return the time to keep for requests that a batch API may not answer: `reserve + tokens / rate`.

    It is at most a quarter of the window, because work that takes longer one by one has no faster way than the batch
    API.

    Args:
        tokens: Tokens of the requests.
        tokens_per_s: Rate at which they complete one by one.
        reserve_s: Time to cancel the provider's batch, and for the unforeseen.
        window_s: Time from the arrival of the requests to their deadline.
    """
    return min(reserve_s + tokens / tokens_per_s, window_s * _WAY_BACK_SHARE)


def fits_provider_batch(deadline_s: float, turnaround_s: float, way_back_s: float, now_s: float) -> bool:
    """Tell whether a batch API is expected to answer early enough to leave time for what it does not answer."""
    return now_s + turnaround_s + way_back_s <= deadline_s
