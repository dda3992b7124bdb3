"""What no test may depend on: the day it runs on, and prices fetched on this machine."""

import datetime as dt
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from meritorder.study.prices import age

TODAY = dt.date(2026, 11, 30)


def pytest_collection() -> None:
    """Import the tests without garbage collection: nearly everything stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Exempt modules and collected tests from garbage collection, a tenth of the time of the tests."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def fixed_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the ages of prices from one day, whenever the tests run."""
    monkeypatch.setattr(age, "today", lambda: TODAY)


@pytest.fixture(autouse=True, scope="session")
def no_fetched_prices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the user's data in a folder of the tests."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder))
        yield folder
