"""How many replicas to run, and which of them takes the next request."""

import math


def replica_load(running: int, waiting: int) -> int:
    """Return the load that routing balances: requests in flight at the replica.

    Source: the least-requests rule of Envoy, vLLM's router and the Kubernetes gateway's inference extension, 2026.
    """
    return running + waiting


def replicas_for_concurrency(in_flight: float, target: float) -> int:
    """Return the replicas that bring the requests in flight at each down to the target.

    Source: the rule of Knative's and Kubernetes' horizontal autoscalers, `ceil(metric / target)`, 2026.

    Args:
        in_flight: Requests running or waiting, averaged over the metric's window.
        target: Requests in flight that one replica should have.
    """
    # A hair above a whole number is rounding, not load.
    return math.ceil(in_flight / target - 1e-9)


def machines_above_floor(reactive: int, minimum: int, floor: int, maximum: int) -> int:
    """Return the machines to run, `min(maximum, max(reactive, minimum, floor))`.

    Args:
        reactive: Machines that the load asks for.
        minimum: Lower bound at any time.
        floor: Lower bound that is scheduled now.
        maximum: Upper bound, which the floor does not exceed either.
    """
    return min(maximum, max(reactive, minimum, floor))


def replicas_for_deadline(work_due_s: float, scheduled_s: float, time_left_s: float) -> float:
    """Return the replicas, not rounded, to add so that the work due by a deadline is done by it.

    The result stays below one while the work can still wait: one more replica started now would finish too early.

    Args:
        work_due_s: Work due by then, in seconds of one full replica.
        scheduled_s: Replica-seconds that run until then in any case.
        time_left_s: Seconds that a replica started now would have until then.
    """
    if time_left_s <= 0:
        return 0.0
    return max(0.0, work_due_s - scheduled_s) / time_left_s
