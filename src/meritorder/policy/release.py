"""When work that can wait is let go, and what goes first."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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
