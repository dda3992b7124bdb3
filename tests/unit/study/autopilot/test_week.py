"""A few days under the autopilot, with shifts that nobody announces; `python -m bench autopilot` has the week."""

from decimal import Decimal
from pathlib import Path

import pytest
from bench.autopilot import MAX_COST, Day, World, lose_to_wrong_forecasts, replay_week

from meritorder.gateway.config import BudgetTable

pytestmark = pytest.mark.slow

SLOW = Day(demand=1.6, rival_usd=1.2, slower=4 / 3)
DAYS = (Day(), Day(demand=1.6), Day(demand=1.6, rival_usd=1.2), SLOW, SLOW)
ALLOWED_USD = 10


def world(folder: Path, days: int = len(DAYS)) -> World:
    return World(folder=folder, history_days=3, requests=700, week=DAYS[:days])


def test_shifts_cost_little_more_than_refits(tmp_path: Path) -> None:
    figures = replay_week(world(tmp_path), [BudgetTable(machines="50")])
    assert figures["cost_ratio"] <= MAX_COST
    assert figures["autopilot_usd"] < 0.9 * figures["first_plan_usd"]
    assert figures["days_kept"] >= figures["days_kept_first_plan"]
    assert figures["late"] <= figures["late_first_plan"]
    reasons = " ".join(figures["decisions"])
    assert all(reason in reasons for reason in ("schedule", "demand", "speed", "applied"))


def test_wrong_forecasts_lose_no_more_than_budgets_allow(tmp_path: Path) -> None:
    figures = lose_to_wrong_forecasts(world(tmp_path, 4), ALLOWED_USD, 3.0, sees_bill=False)
    assert figures["most_lost_on_a_day_usd"] <= Decimal(ALLOWED_USD)
