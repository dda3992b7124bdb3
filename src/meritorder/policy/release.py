"""When work that can wait is let go, and what goes first."""


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


def latest_start_s(deadline_s: float, work_s: float, margin_s: float) -> float:
    """Return the last moment at which a request can start and still be done in time.

    Args:
        deadline_s: When it must be done.
        work_s: How long it takes from its start, waiting for its first step included.
        margin_s: Safety on top.
    """
    return deadline_s - work_s - margin_s
