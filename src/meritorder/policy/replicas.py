"""How many replicas to run, and which of them takes the next request."""

import math
from typing import Final

DECISION_S: Final = 15.0
"""Time between two scaling decisions. Source: the default of Kubernetes' horizontal pod autoscaler, 2026."""


def replica_load(running: int, waiting: int) -> int:
    """Return the load that routing balances: requests in flight at the replica.

    Source: the least-requests rule of Envoy, vLLM's router and the Kubernetes gateway's inference extension, 2026.
    """
    return running + waiting


def machines_for_concurrency(in_flight: float, target: float, beside: int, replicas_per_machine: int) -> int:
    """Return the machines that bring the requests in flight at each replica down to the target.

    `ceil((ceil(in_flight / target) - beside) / replicas_per_machine)`, at least 0.

    Source: the rule of Knative's and Kubernetes' horizontal autoscalers, `ceil(metric / target)`, 2026.

    Args:
        in_flight: Requests running or waiting, averaged over the time since the last decision.
        target: Requests in flight that one replica should have.
        beside: Replicas on other machines that share these requests.
        replicas_per_machine: Replicas on one machine.
    """
    # A hair above a whole number is rounding, not load.
    replicas = math.ceil(in_flight / target - 1e-9) - beside
    return max(0, -(-replicas // replicas_per_machine))


def recommendations_kept(stabilization_s: float, decision_s: float) -> int:
    """Return over how many decisions a reactive rule follows its highest recommendation, at least one.

    Args:
        stabilization_s: Scale-down waits until all recommendations of this window are lower.
        decision_s: Time between decisions.
    """
    return max(1, math.ceil(stabilization_s / decision_s))


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


def first_replica_is_due(rented: int, time_left_s: float, decision_s: float) -> bool:
    """Tell whether the first replica for a deadline must start now, however little work there is.

    Args:
        rented: Replicas that run or start already.
        time_left_s: Seconds that a replica started now would have until then.
        decision_s: Time until the next decision.
    """
    return rented == 0 and time_left_s <= decision_s
