"""Budgets: the most restrictive that applies wins, over any 24 hours."""

import datetime as dt
import math
from decimal import Decimal

import pytest

from meritorder.errors import ConfigError
from meritorder.gateway.config import BudgetTable
from meritorder.records.autopilot import APPLIED, SUGGESTED, Decision
from meritorder.study.autopilot.budgets import Allowance, allowance, parse_budgets

MONDAY = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)


def left(*tables: BudgetTable, reasons: tuple[str, ...] = ("demand",), past: tuple[Decision, ...] = ()) -> Allowance:
    return allowance(parse_budgets(tables, "c"), reasons, now=MONDAY, running=25.0, past=past)


def decision(hours_ago: float, *, machines: int = 0, usd: float = 0.0, outcome: str = APPLIED) -> Decision:
    at_s = MONDAY.timestamp() - hours_ago * 3600
    return Decision(
        id="d", at="", at_s=at_s, mode="apply", outcome=outcome, why="", machines=machines, at_risk_usd_per_day=usd
    )


def test_without_budgets_a_tenth_of_machines() -> None:
    assert left() == Allowance(machines=3, usd_per_day=math.inf)  # 2.5, rounded up


def test_most_restrictive_wins() -> None:
    tables = BudgetTable(machines="40%"), BudgetTable(machines="4"), BudgetTable(usd_per_day=Decimal(50))
    assert left(*tables) == Allowance(machines=4, usd_per_day=50.0)


def test_budget_of_another_reason_does_not_count() -> None:
    tables = BudgetTable(machines="0", reasons=["prices"]), BudgetTable(machines="5")
    assert left(*tables).machines == 5
    assert left(*tables, reasons=("demand", "prices")).machines == 0


def test_window_that_is_closed_does_not_count() -> None:
    freeze = BudgetTable(machines="0", schedule="0 9 * * mon", duration="8h")
    later = BudgetTable(machines="0", schedule="0 13 * * mon", duration="8h")
    assert left(freeze, BudgetTable(machines="5")).machines == 0
    assert left(later, BudgetTable(machines="5")).machines == 5


def test_changes_of_a_day_count_against_budgets() -> None:
    table = BudgetTable(machines="5", usd_per_day=Decimal(50))
    past = (
        decision(25, machines=5, usd=50.0),
        decision(3, machines=2, usd=20.0),
        decision(1, machines=5, usd=50.0, outcome=SUGGESTED),
    )
    assert left(table, past=past) == Allowance(machines=3, usd_per_day=30.0)


def test_refusal_says_what_is_left() -> None:
    allowed = Allowance(machines=2, usd_per_day=30.0)
    assert allowed.refusal(2, 30.0) == ""
    assert "changes 3 machines, and the budgets leave 2 machines" in allowed.refusal(3, 0.0)
    assert "$31" in allowed.refusal(0, 31.0)


@pytest.mark.parametrize(
    "table",
    [
        BudgetTable(machines="-1"),
        BudgetTable(machines="110%"),
        BudgetTable(machines="nan%"),
        BudgetTable(machines="many"),
        BudgetTable(usd_per_day=Decimal(-1)),
        BudgetTable(usd_per_day=Decimal("NaN")),
        BudgetTable(schedule="@daily"),
        BudgetTable(duration="8h"),
        BudgetTable(schedule="@daily", duration="soon"),
        BudgetTable(reasons=["mood"]),
    ],
)
def test_invalid_budget_is_refused(table: BudgetTable) -> None:
    with pytest.raises(ConfigError):
        parse_budgets([table], "c")
