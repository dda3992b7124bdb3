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


def for_deadlines(work_due_s: float, time_left_s: float) -> float:
    """Return the replicas, not rounded, that finish the work due by a deadline in the time that is left.

    Args:
        work_due_s: Work due by then, in seconds of one saturated replica.
        time_left_s: Time until then, less the start-up and a margin.
    """
    if work_due_s <= 0:
        return 0.0
    return work_due_s / time_left_s if time_left_s > 0 else math.inf
