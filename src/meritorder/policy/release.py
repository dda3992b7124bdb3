"""When work that can wait is let go, and where to."""

from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Share of the KV memory of a replica that serves real-time work up to which deferrable work joins it: what comes next
# in real time finds memory, and what runs can grow.
BACKFILL_KV_SHARE: Final = 0.9


def backfill_seats(running: int, waiting: int, seat_cap: int) -> int:
    """Return how many deferrable sequences may join a replica now.

    Real-time requests that wait count as if they ran already, so deferrable work never takes the seat of one.

    Args:
        running: Sequences in the replica.
        waiting: Real-time requests that wait for it.
        seat_cap: Most sequences that the replica may hold with deferrable work among them: the largest batch whose
            step still keeps the real-time pace.
    """
    return max(0, seat_cap - running - waiting)


def latest_start_s(deadline_s: Floats, work_s: Floats, arrived_s: Floats) -> Floats:
    """Return the last moment at which requests can start and still be done in time, their arrival at the earliest.

    Args:
        deadline_s: When they must be done, shape (requests,).
        work_s: How long each takes from its start, with a margin, shape (requests,).
        arrived_s: When they arrived, shape (requests,).
    """
    return np.maximum(deadline_s - work_s, arrived_s)


def latest_release_s(deadline_s: float, ahead_tokens: float, drain_tokens_per_s: float, margin_s: float) -> float:
    """Return the last moment until which a request may be left to the gaps: `deadline - ahead / drain - margin`.

    Args:
        deadline_s: When it must be done.
        ahead_tokens: Tokens that are to be done by then, its own and those that go before it.
        drain_tokens_per_s: At which the gaps take them, as measured; 0 if they take none.
        margin_s: For what was not foreseen.
    """
    if drain_tokens_per_s <= 0:
        return float("-inf")
    return deadline_s - ahead_tokens / drain_tokens_per_s - margin_s


class Release(StrEnum):
    """Where a deferrable request may run."""

    GAPS = "gaps"  # what real-time work leaves free
    REALTIME = "realtime"  # as if somebody waited for it
    FALLBACK = "fallback"  # at the fallback venue, at its price


def release(
    deadline_s: float, work_s: float, latest_release_s: float, *, own_venue_up: bool, margin_s: float, now_s: float
) -> Release:
    """Return how far a request has escalated.

    Args:
        deadline_s: When it must be done.
        work_s: How long it takes alone in our own real-time capacity.
        latest_release_s: Until when it may be left to the gaps.
        own_venue_up: Whether our own capacity takes requests at all.
        margin_s: For what was not foreseen.
        now_s: On the clock of the deadline.
    """
    if now_s < latest_release_s:
        return Release.GAPS
    if own_venue_up and now_s + work_s + margin_s <= deadline_s:
        return Release.REALTIME
    return Release.FALLBACK


def may_outsource(
    deadline_s: float, latest_release_s: float, window_s: float, margin_s: float, *, own: bool, now_s: float
) -> bool:
    """Say whether work should go to a provider's batch API: it fits there, and the gaps would not do it in time.

    Args:
        deadline_s: When it must be done.
        latest_release_s: Until when it could be left to the gaps, behind all that is due before it.
        window_s: What the provider promises.
        margin_s: For what was not foreseen.
        own: Whether there are gaps at all: an engine of ours that serves it.
        now_s: On the clock of the deadline.
    """
    return now_s + window_s + margin_s <= deadline_s and (not own or latest_release_s <= now_s)
