"""Commitments already held, as a file states them."""

import subprocess
import sys
from pathlib import Path

import pytest

from meritorder import catalog as facts
from meritorder.errors import ConfigError
from meritorder.planner.model.supply import Holdings
from meritorder.study.schedule.commitments import read_holdings

CATALOG = facts.load()


def written(folder: Path, text: str) -> Path:
    path = folder / "have.toml"
    path.write_text(text)
    return path


def test_holdings_are_sunk_and_fixed(tmp_path: Path) -> None:
    text = """
[[machines]]
provider = "AWS"
region = "us-east-1"
instance = "p5.48xlarge"
machines = 2
kind = "reserved"

[[savings_plan]]
provider = "aws"
usd_per_hour = 40.0
rates = { "us-east-1 p5.48xlarge" = 28.5 }
"""
    holdings = read_holdings(written(tmp_path, text), CATALOG)
    (reserved,), (plan,) = holdings.reserved, holdings.savings_plans
    assert (reserved.machine, reserved.held, reserved.kind) == ("aws us-east-1 p5.48xlarge", 2, "reserved")
    assert reserved.usd_per_hour == 0
    assert plan.held_usd_per_hour == 40.0
    assert dict(plan.usd_per_hour) == {reserved.machine: 28.5}
    both = holdings.joined(Holdings(notes=("unread",)))
    assert (both.reserved, both.savings_plans, both.notes) == ((reserved,), (plan,), ("unread",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[machines]]\nprovider = 'aws'\ninstance = 'nothing'\nmachines = 1\n", "the catalog has no machine"),
        ("[[machines]]\nprovider = 'aws'\ninstance = 'x'\nmachines = 0\n", "0 machines"),
        ("[[machines]]\nprovider = 'aws'\ninstance = 'x'\nmachines = 1\nkind = 'lent'\n", "unknown kind 'lent'"),
        ("[[savings_plan]]\nprovider = 'aws'\nusd_per_hour = 0.0\nrates = {}\n", "positive usd_per_hour"),
        ("[[machine]]\n", "unknown field"),
        ("nonsense", "is not TOML"),
    ],
)
def test_invalid_holdings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_holdings(written(tmp_path, text), CATALOG)


def test_plan_without_bill_loads_no_bills() -> None:
    code = "import sys, meritorder.study.plan.answer; print('meritorder.bills' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
