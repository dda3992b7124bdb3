"""Arguments of the Python API: single values, paths as text, ranges."""

import math
from pathlib import Path
from typing import Any

import pytest

from meritorder.errors import ConfigError
from meritorder.study.audit.context import AuditOptions
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.schedule.options import PlanOptions


@pytest.mark.parametrize(
    ("given", "name", "declared"),
    [
        ({"hardware": "h100"}, "hardware", ("h100",)),
        ({"hardware": ["h100", "l40s"]}, "hardware", ("h100", "l40s")),
        ({"defer": "40%@4h"}, "defer", ("40%@4h",)),
        ({"terms": "1y"}, "terms", ("1y",)),
        ({"terms": None}, "terms", None),
        ({"bills": "bill.csv"}, "bills", ("bill.csv",)),
        ({"profile": "profile.json"}, "profile", Path("profile.json")),
        ({"have": "have.toml"}, "have", Path("have.toml")),
        ({"catalogs": "prices.csv"}, "catalogs", (Path("prices.csv"),)),
        ({"catalogs": [Path("a.csv"), "b.toml"]}, "catalogs", (Path("a.csv"), Path("b.toml"))),
    ],
)
def test_arguments_become_what_is_declared(given: dict[str, Any], name: str, declared: object) -> None:
    assert getattr(PlanOptions(**given), name) == declared


def test_audit_options_convert_too() -> None:
    options = AuditOptions(bill="bill.csv", metrics="gpus.csv", by="tag:team")  # type: ignore[arg-type]
    assert (options.bill, options.metrics, options.by) == (("bill.csv",), Path("gpus.csv"), ("tag:team",))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tp", 0),
        ("replicas", 0),
        ("slower", math.nan),
        ("slower", math.inf),
        ("spread_s", 0.0),
        ("keep_warm_s", -1.0),
        ("backtest", 3.0),
        ("backtest", 0.0),
        ("machines", 0),
        ("carbon_usd_per_tonne", -5.0),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: .* is out of range"):
        PlanOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["terms", "tiers"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: unknown"):
        PlanOptions(**{name: "5y"})  # type: ignore[arg-type]


def test_ranges_hold_for_a_comparison() -> None:
    with pytest.raises(ConfigError, match=r"^tp: 0 is out of range; give at least 1"):
        CompareOptions(tp=0)
