"""A plan in the form in which others run it."""

from collections.abc import Callable
from typing import Final

from meritorder.errors import ConfigError
from meritorder.records.planfile import Plan
from meritorder.report.exports import kubernetes, skypilot, tables
from meritorder.report.exports.fleets import Fleet, fleets

Files = dict[str, str]
"""Content by name of the file."""

TARGETS: Final[dict[str, Callable[[Plan, list[Fleet]], Files]]] = {
    "keda": kubernetes.scaled_by_keda,
    "kubernetes": kubernetes.scaled_by_cron,
    "skypilot": skypilot.services,
    "csv": tables.schedule,
}


def export(plan: Plan, target: str, start_s: float | None) -> Files:
    """Return the files of a plan for a target; commitments are a list of purchases in each.

    Args:
        plan: The plan.
        target: A key of `TARGETS`.
        start_s: When the plan's first slot begins, epoch seconds; None for the start of its trace.

    Raises:
        ConfigError: The target cannot run a pool of the plan, or the plan has no start or no machines.
    """
    rented = fleets(plan, start_s)
    if not rented:
        raise ConfigError("the plan rents no machines, so there is nothing to export")
    return TARGETS[target](plan, rented) | tables.purchases(plan)
