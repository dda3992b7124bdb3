"""The case of an audit, and the commands that findings recommend."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
from tests.samples.charges import machine, write

from meritorder import bills
from meritorder import catalog as facts
from meritorder.errors import BillError
from meritorder.study.audit.context import AuditContext, AuditOptions, build_case
from meritorder.study.audit.market import Market
from meritorder.study.audit.pools import BilledMachine, PaidRates

MACHINE = BilledMachine(provider="aws", region="us-east-1", instance="p5.48xlarge")


def context(**inputs: object) -> AuditContext:
    market = Market(catalog=facts.load(()), rates=PaidRates(), until=dt.datetime(2026, 11, 1, tzinfo=dt.UTC))
    return AuditContext(market=market, usage=None, **({"bill": ()} | inputs))  # type: ignore[arg-type]


def test_commands_without_requests_run_on_the_bill() -> None:
    """Neither `plan` nor `compare` can run without requests and a model."""
    named = context(bill=("my bill.csv", "b.csv"))
    assert named.plan_advice("find it").endswith(
        "writes: meritorder audit 'my bill.csv' b.csv --rates rates.csv --held held.toml"
    )
    assert named.compare_advice(MACHINE, more="--spot") == (
        "see the prices: meritorder prices --hardware h100 --provider aws"
    )
    unknown = BilledMachine(provider="acme", region="r", instance="box")
    assert named.compare_advice(unknown).endswith("meritorder audit 'my bill.csv' b.csv --by instance_type")
    for half in ({"trace": ("a.csv",)}, {"model": "llama-3.1-8b"}):
        assert "meritorder prices" in context(**half).compare_advice(MACHINE)


def test_commands_quote_names() -> None:
    named = context(bill=("my bill.csv", "b.csv"), trace=("a b.csv",), model="llama 3")
    assert named.bill_arguments == "'my bill.csv' b.csv"
    assert named.plan_advice("find it") == (
        "find it: meritorder plan 'a b.csv' --model 'llama 3' --bill 'my bill.csv' --bill b.csv"
    )


def test_compare_command_names_the_machine() -> None:
    given = context(trace=("requests.csv",), model="llama-3.1-8b")
    assert given.compare_advice(MACHINE, region="us-west-2", more="--spot") == (
        "price it on your requests: meritorder compare requests.csv --model llama-3.1-8b --hardware h100 "
        "--provider aws --region us-west-2 --spot"
    )
    assert "--hardware h200" in given.compare_advice(MACHINE, hardware="h200")


def test_case_is_built_once(tmp_path: Path) -> None:
    case = build_case(bills.read(write(tmp_path / "bill.csv", machine(range(3)))), AuditOptions())
    assert case.fleet is not None
    assert case.fleet.hours == case.by_hour.height == 3
    assert case.catalog.offers


def test_unknown_serving_column(tmp_path: Path) -> None:
    bill = bills.read(write(tmp_path / "bill.csv", machine([0])))
    with pytest.raises(BillError, match="--serving: no column color"):
        build_case(bill, AuditOptions(serving=(("color", "x"),)))


def test_audit_loads_no_solver() -> None:
    check = (
        "import sys, meritorder.study.audit.answer; "
        "sys.exit(any(name.startswith(('highspy', 'meritorder.planner')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_terms_load_no_audit() -> None:
    check = (
        "import sys, meritorder.study.audit.terms; "
        "sys.exit('meritorder.study.audit.answer' in sys.modules or 'highspy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
