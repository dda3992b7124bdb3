"""Budgets: how much may change in any 24 hours, when, and for which reasons; the most restrictive wins."""

import datetime as dt
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from meritorder.errors import ConfigError
from meritorder.gateway.config import BudgetTable, duration_s
from meritorder.records.autopilot import APPLIED, Decision
from meritorder.study.autopilot.cron import Window, parse_window
from meritorder.units import SECONDS_PER_DAY, format_count, format_usd

REASONS: Final = ("schedule", "demand", "prices", "speed", "backlog", "promises")
_DEFAULT: Final = BudgetTable(machines="10%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit on the changes of any 24 hours.

    Args:
        machines: Share of the machines, or their number; None for no limit.
        usd_per_day: Most that changes may add to the cost of a day; None for no limit.
        window: When it applies; None for always.
        reasons: Reasons for a change that it applies to; empty for all.
    """

    machines: float | int | None
    usd_per_day: float | None
    window: Window | None
    reasons: frozenset[str]

    def applies(self, reasons: Collection[str], now: dt.datetime) -> bool:
        """Return whether it limits a change for some reasons now."""
        concerns = not self.reasons or bool(self.reasons & set(reasons))
        return concerns and (self.window is None or self.window.contains(now))

    def machines_of(self, running: float) -> float:
        """Return the machines that it allows to change, of those that run; a share is rounded up."""
        if self.machines is None:
            return math.inf
        if isinstance(self.machines, int):
            return self.machines
        return math.ceil(self.machines * max(running, 1.0) - 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What may still change now."""

    machines: float
    usd_per_day: float

    def refusal(self, machines: int, usd_per_day: float) -> str:
        """Return why a change is not allowed; empty if it is."""
        if machines > self.machines:
            needed = format_count(machines, "machine")
            return f"it changes {needed}, and the budgets leave {format_count(int(self.machines), 'machine')}"
        if usd_per_day > self.usd_per_day + 1e-9:
            return (
                f"it may add {format_usd(usd_per_day)} to the cost of a day, and the budgets leave "
                f"{format_usd(max(0.0, self.usd_per_day))}"
            )
        return ""


def parse_budgets(tables: Sequence[BudgetTable], where: str) -> tuple[Budget, ...]:
    """Return the budgets of a configuration; 10% of the machines if it has none.

    Raises:
        ConfigError: One is invalid.
    """
    return tuple(_budget(table, f"{where}: budget[{number}]") for number, table in enumerate(tables or [_DEFAULT]))


def allowance(
    budgets: Sequence[Budget],
    reasons: Collection[str],
    *,
    now: dt.datetime,
    running: float,
    past: Sequence[Decision],
) -> Allowance:
    """Return what may still change: the least that any budget leaves after the changes of the last 24 hours.

    Args:
        budgets: The budgets.
        reasons: Why something is to change.
        now: The instant.
        running: Machines that run under the plan in force.
        past: Earlier decisions.
    """
    since_s = now.timestamp() - SECONDS_PER_DAY
    applied = [decision for decision in past if decision.outcome == APPLIED and decision.at_s > since_s]
    machines = sum(decision.machines for decision in applied)
    usd = sum(decision.at_risk_usd_per_day for decision in applied)
    active = [budget for budget in budgets if budget.applies(reasons, now)]
    limits_usd = [budget.usd_per_day for budget in active if budget.usd_per_day is not None]
    return Allowance(
        machines=max(0.0, min((budget.machines_of(running) for budget in active), default=math.inf) - machines),
        usd_per_day=min(limits_usd, default=math.inf) - usd,
    )


def _budget(table: BudgetTable, where: str) -> Budget:
    unknown = set(table.reasons) - set(REASONS)
    if unknown:
        fix = f"the reasons are {', '.join(REASONS)}"
        raise ConfigError(f"unknown reasons {sorted(unknown)}", where=f"{where}.reasons", fix=fix)
    if bool(table.schedule) != bool(table.duration):
        raise ConfigError("schedule and duration require each other", where=where, fix="give both or neither")
    window = None
    if table.schedule:
        window = parse_window(table.schedule, duration_s(table.duration), where)
    usd = None if table.usd_per_day is None else float(table.usd_per_day)
    if usd is not None and not 0 <= usd < math.inf:
        raise ConfigError(f"{table.usd_per_day} is no amount", where=f"{where}.usd_per_day", fix="give dollars from 0")
    return Budget(
        machines=_machines(table.machines, f"{where}.machines"),
        usd_per_day=usd,
        window=window,
        reasons=frozenset(table.reasons),
    )


def _machines(text: str, where: str) -> float | int | None:
    if not text:
        return None
    number = text.removesuffix("%")
    try:
        share = float(number) / 100
    except ValueError:
        share = -1.0
    if text.endswith("%") and 0 <= share <= 1:
        return share
    if number.isascii() and text.isdigit():
        return int(text)
    raise ConfigError(f"{text!r} is neither a share nor a number", where=where, fix='write "10%" or "2"')
