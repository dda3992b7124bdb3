"""How many replicas there should be."""

import math


def for_concurrency(in_flight: float, target: float) -> int:
    """Return the replicas that hold the requests in flight at the target of each.

    Source: the rule of Knative's and Kubernetes' horizontal autoscalers, `ceil(metric / target)`, 2026.

    Args:
        in_flight: Requests running or waiting, averaged over the metric's window.
        target: Requests in flight that one replica should have.
    """
    # A hair below the next whole number is rounding, not load.
    return math.ceil(in_flight / target - 1e-9)


def to_add_for_deadline(work_due_s: float, held_s: float, time_left_s: float) -> float:
    """Return the replicas, not rounded, to add so that the work due by a deadline is done by it.

    It stays below one for as long as the work can wait: one more replica, started now, would be done too early.

    Args:
        work_due_s: Work due by then, in seconds of one full replica.
        held_s: Seconds of replicas that are held until then anyway.
        time_left_s: Seconds that a replica started now would have until then.
    """
    short_s = work_due_s - held_s
    if short_s <= 0 or time_left_s <= 0:
        return 0.0
    return short_s / time_left_s
