"""What no test may depend on: the day it runs on."""

import datetime as dt

import pytest

from meritorder.study import prices

TODAY = dt.date(2026, 11, 30)


@pytest.fixture(autouse=True)
def fixed_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the ages of prices from one day, whenever the tests run."""
    monkeypatch.setattr(prices, "today", lambda: TODAY)
