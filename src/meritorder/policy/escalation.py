"""How long deferrable work may wait, and which capacity it may use as its deadline approaches."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def latest_start_s(deadline_s: Floats, work_s: Floats, arrived_s: Floats) -> Floats:
    """Return the latest start of each request that still meets its deadline, but not before its arrival.

    Args:
        deadline_s: Deadline of each request, shape (requests,).
        work_s: Time from start to end, with a margin, shape (requests,).
        arrived_s: Arrival of each request, shape (requests,).
    """
    return np.maximum(deadline_s - work_s, arrived_s)


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


def fits_provider_batch(deadline_s: float, window_s: float, margin_s: float, now_s: float) -> bool:
    """Tell whether a provider's completion window, with a margin, ends by a deadline."""
    return now_s + window_s + margin_s <= deadline_s


def needs_provider_batch(
    deadline_s: float, latest_backfill_s: float, window_s: float, margin_s: float, *, own: bool, now_s: float
) -> bool:
    """Tell whether work belongs in a provider's batch API: it fits there, and backfill would not finish it in time.

    Args:
        deadline_s: Its deadline.
        latest_backfill_s: Until when it could wait for backfill behind all work due before it.
        window_s: Completion window that the provider promises.
        margin_s: Reserve for the unforeseen.
        own: Whether an engine of ours serves it, so that there is backfill at all.
        now_s: On the clock of the deadline.
    """
    return fits_provider_batch(deadline_s, window_s, margin_s, now_s) and (not own or latest_backfill_s <= now_s)
