"""The ledger of what is paid: netting of corrections, discounts, and the size of findings."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import polars as pl
import pytest
from tests.samples.charges import Row, line, machine, reservation, savings_plan, tokens, write
from tests.unit.study.audit.conftest import DAY

from meritorder import bills
from meritorder.study.audit.ledger import (
    Ledger,
    TokenPurchase,
    UnusedCommitment,
    _tokens,
    _unused,
    open_ledger,
    worth_reporting,
)
from meritorder.study.audit.pools import read_fleet

EMPTY = Ledger(fleet=None, tokens=(), unused=(), months=2.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bill.csv"


def ledger_of(path: Path, rows: Iterable[Row]) -> Ledger:
    bill = bills.read(write(path, rows))
    by_hour = bills.hourly_groups(bill.spans, bills.select_inference(bill.groups))
    return open_ledger(bill, read_fleet(bill, by_hour), 1.0)


def corrected_plan(name: str, *, fee: float, correction: float) -> Iterable[Row]:
    """Yield a plan that is used for an hour at 10, with an unused hour of `fee` and a correction of `-correction`."""
    arn = f"arn:aws:savingsplans::1:savingsplan/{name}"
    own = {"savings_plan_savings_plan_a_r_n": arn, "line_item_usage_type": "ComputeSP:1yrNoUpfront"}
    covered = savings_plan([0], 0, commitment=0, rate=10.0, listed=20.0, name=name)
    amounts = [(fee, 0.0), (0.0, correction)]
    fees = [
        line(
            "SavingsPlanRecurringFee",
            hour,
            total,
            savings_plan_total_commitment_to_date=total,
            savings_plan_used_commitment=used,
            **own,
        )
        for hour, (total, used) in enumerate(amounts)
    ]
    return chain(covered, fees)


def netted(path: Path, *plans: tuple[str, float, float]) -> dict[str, float]:
    """Return the unused dollars of plans by name, before discounts; each plan is (name, fee, correction)."""
    rows = chain(*(corrected_plan(name, fee=fee, correction=correction) for name, fee, correction in plans))
    groups = bills.select_inference(bills.read(write(path, rows)).groups)
    return {unused.commitment.rsplit("/")[-1]: unused.usd for unused in _unused(groups, {})}


def test_correction_is_netted_within_a_plan(path: Path) -> None:
    """An unused hour of 40 of which AWS takes 15 back was lost by 25 only."""
    (unused,) = ledger_of(path, corrected_plan("a", fee=40.0, correction=15.0)).unused
    assert (unused.usd, unused.used_usd, unused.list_usd) == pytest.approx((25.0, 10.0, 20.0))


def test_correction_is_netted_across_plans(path: Path) -> None:
    """Plan a leaves 40 unused, plan b is corrected by 10: 30 were lost, all of them on a."""
    assert netted(path, ("a", 40.0, 0.0), ("b", 0.0, 10.0)) == pytest.approx({"a": 30.0})


def test_correction_of_a_plan_counts_once(path: Path) -> None:
    """Of 40 unused, 10 are taken back at another plan: 30 were lost, and a machine still costs what was paid."""
    plans = [corrected_plan("a", fee=40.0, correction=0.0), corrected_plan("b", fee=0.0, correction=10.0)]
    ledger = ledger_of(path, chain(*plans, machine(range(2), instance="g5.2xlarge", usd=2.0)))
    assert ledger.unused[0].usd == pytest.approx(30.0)
    assert sum(pool.usd for pool in ledger.pools) == pytest.approx(4.0)


def test_netting_keeps_proportions(path: Path) -> None:
    """Of 60 and 20 unused, a correction of 40 leaves half: 30 and 10."""
    assert netted(path, ("a", 60.0, 0.0), ("b", 20.0, 0.0), ("c", 0.0, 40.0)) == pytest.approx({"a": 30.0, "b": 10.0})


def test_larger_correction_leaves_nothing_unused(path: Path) -> None:
    assert netted(path, ("a", 4.0, 0.0), ("b", 0.0, 10.0)) == {"a": 0.0}


def test_separate_discount_lowers_every_amount(path: Path) -> None:
    """100 of tokens, 48 of machines and 52 of a reservation, half of it unused, less a discount of 40: 80 % is paid."""
    ledger = ledger_of(
        path,
        chain(
            tokens([0], usd=100.0, thousands=10),
            machine(range(DAY), instance="g5.2xlarge", usd=2.0),
            reservation(range(13), 26, instance="g5.12xlarge", rate=2.0, listed=4.0),
            [line("EdpDiscount", 0, -40.0, line_item_usage_type="BoxUsage:p5.48xlarge")],
        ),
    )
    assert ledger.tokens[0].usd == pytest.approx(80.0)
    assert sum(pool.usd for pool in ledger.pools) == pytest.approx(38.4)
    assert ledger.unused[0].usd == pytest.approx(20.8)
    assert ledger.usd == pytest.approx(80.0 + 38.4 + 20.8)


def test_batch_price_is_discounted_too(path: Path) -> None:
    bought = chain(tokens([0], usd=30.0, thousands=10), tokens([1], usd=10.0, thousands=5, batch=True))
    discount = line("EdpDiscount", 0, -10.0, line_item_usage_type="BoxUsage:p5.48xlarge")
    ledger = ledger_of(path, [*bought, discount])
    assert {purchase.tier: purchase.batch_usd_per_unit for purchase in ledger.tokens} == pytest.approx(
        {"standard": 2.0 * 0.75, "batch": 2.0 * 0.75}
    )


def test_only_family_commitments_are_bound(path: Path) -> None:
    compute = savings_plan([0], 2, commitment=50.0, rate=40.0, listed=55.04, name="compute")
    family = [
        row | {"line_item_usage_type": "EC2SP:p5.1yrNoUpfront"}
        if row["line_item_line_item_type"] == "SavingsPlanRecurringFee"
        else row
        for row in savings_plan([0], 2, commitment=50.0, rate=40.0, listed=55.04, name="family")
    ]
    reserved = reservation([0], 2, instance="g5.12xlarge", rate=3.5, listed=5.672)
    bound = {
        unused.commitment.rsplit("/")[-1]: unused.bound
        for unused in ledger_of(path, chain(compute, family, reserved)).unused
    }
    assert bound == {"compute": False, "family": True, "ri-1": True}


def test_fully_used_commitment_is_left_out(path: Path) -> None:
    assert ledger_of(path, savings_plan(range(3), 3, commitment=40.0, rate=40.0, listed=55.04)).unused == ()


def test_tokens_without_cost_are_left_out(path: Path) -> None:
    rows = chain(tokens([0], usd=0.0, thousands=10), tokens([0], usd=2.0, thousands=10, kind="output"))
    (purchase,) = ledger_of(path, rows).tokens
    assert (purchase.token_type, purchase.usd, purchase.quantity) == ("output", 2.0, 10.0)


@pytest.mark.parametrize(
    ("tier", "realtime"), [("standard", True), ("priority", True), ("batch", False), ("flex", False)]
)
def test_batch_and_flex_are_not_realtime(tier: str, *, realtime: bool) -> None:
    purchase = TokenPurchase(
        provider="aws",
        model="m",
        token_type="",
        tier=tier,
        unit="1K",
        may_wait=True,
        quantity=1.0,
        usd=1.0,
        batch_usd_per_unit=None,
    )
    assert purchase.realtime is realtime


def test_cent_is_worth_reporting() -> None:
    assert [worth_reporting(usd) for usd in (0.0, 0.0099, 0.01, 1.0)] == [False, False, True, True]


def test_finding_is_spread_over_months() -> None:
    finding = EMPTY.finding("idle_capacity", usd=30.0, title="t", confidence="low", evidence="e", fix="f", where="w")
    assert (finding.usd, finding.usd_per_month) == (30.0, 15.0)


def test_ledger_without_machines_keeps_none() -> None:
    assert EMPTY.pools == ()
    assert EMPTY.with_pools([]) is EMPTY
    assert EMPTY.usd == 0


def test_small_unused_parts_are_netted(path: Path) -> None:
    """Half a dollar unused is lost whole; half a dollar of correction lowers what another plan lost."""
    assert netted(path, ("a", 0.5, 0.0)) == pytest.approx({"a": 0.5})
    assert netted(path, ("a", 40.0, 0.0), ("b", 0.0, 0.5)) == pytest.approx({"a": 39.5})


def test_tokens_are_named_as_billed(path: Path) -> None:
    (purchase,) = ledger_of(path, tokens([0], usd=0.5, thousands=10)).tokens
    assert purchase == TokenPurchase(
        provider="aws",
        model="Claude4.5Sonnet",
        token_type="input",  # noqa: S106 - a kind of token
        tier="standard",
        unit="1K tokens",
        may_wait=False,
        quantity=10.0,
        usd=0.5,
        batch_usd_per_unit=None,
    )


def test_unused_commitment_is_named_as_billed(path: Path) -> None:
    """Ten of 24 hours at 3.5 are used, for what costs 5.672 on demand."""
    (unused,) = ledger_of(path, reservation(range(10), DAY, instance="g5.12xlarge", rate=3.5, listed=5.672)).unused
    assert unused == UnusedCommitment(
        provider="aws",
        commitment="arn:aws:ec2:us-east-1:1:reserved-instances/ri-1",
        purchase="reserved",
        usd=pytest.approx(49.0),  # type: ignore[arg-type]
        used_usd=pytest.approx(35.0),  # type: ignore[arg-type]
        list_usd=pytest.approx(56.72),  # type: ignore[arg-type]
        instances=("g5.12xlarge",),
        regions=("us-east-1",),
        bound=True,
    )


def test_never_used_commitment_covered_nothing(path: Path) -> None:
    (unused,) = ledger_of(path, reservation([], 2, instance="g5.12xlarge", rate=3.5, listed=5.672)).unused
    assert (unused.usd, unused.used_usd, unused.list_usd) == (pytest.approx(7.0), 0.0, 0.0)


def test_tokens_without_names_or_discount() -> None:
    """What a bill does not state is empty, of the standard tier, and costs what it is billed at."""
    row = {
        **dict.fromkeys(("provider", "model", "token_type", "tier", "unit"), None),
        "kind": "tokens",
        "purchase": "tokens",
        "priced": True,
        "may_wait": False,
        "amortised_usd": 2.0,
        "quantity": None,
    }
    groups = pl.DataFrame([row], schema_overrides={"tier": pl.String, "quantity": pl.Float64})
    (purchase,) = _tokens(groups, {})
    assert (purchase.provider, purchase.model, purchase.token_type, purchase.unit) == ("", "", "", "")
    assert (purchase.tier, purchase.quantity, purchase.usd) == ("standard", 0.0, 2.0)
