"""Machine hours of a bill, and the prices that were paid for them."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.samples.charges import START, Row, line, machine, reservation, savings_plan, write
from tests.unit.study.audit.conftest import DAY, DEFERRABLE

from meritorder import bills
from meritorder.study.audit.pools import BilledFleet, BilledMachine, _step_h, machine_hours, paid_share, read_fleet

P5 = BilledMachine(provider="aws", region="us-east-1", instance="p5.48xlarge")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bill.csv"


def fleet_of(path: Path, rows: Iterable[Row], serving: tuple[tuple[str, str], ...] = ()) -> BilledFleet:
    bill = bills.read(write(path, rows), group_by=list(dict(serving)))
    fleet = read_fleet(bill, bills.hourly_groups(bill.spans, bills.select_inference(bill.groups)), serving)
    assert fleet is not None
    return fleet


def charges(*rows: tuple[str, str, float]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["provider", "purchase", "amortised_usd"], orient="row")
    return frame.with_columns(unused=pl.lit(value=False))


def test_share_is_what_reductions_leave() -> None:
    """Of 100 of usage a credit of 25 and a negative line of 5 take 30."""
    groups = charges(("aws", "on_demand", 100.0), ("aws", "credit", -25.0), ("aws", "on_demand", -5.0))
    assert paid_share(groups) == pytest.approx({"aws": 0.7})


def test_share_is_between_zero_and_one() -> None:
    groups = charges(
        ("aws", "on_demand", 10.0),
        ("aws", "refund", -30.0),
        ("gcp", "on_demand", 10.0),
        ("gcp", "adjustment", 5.0),
        ("azure", "credit", -5.0),
    )
    assert paid_share(groups) == pytest.approx({"aws": 0.0, "gcp": 1.0, "azure": 1.0})


def test_price_is_cost_over_hours(path: Path) -> None:
    """Ten hours at 50 and ten at 60 of the same pool cost 55 on average."""
    (pool,) = fleet_of(path, chain(machine(range(10), usd=50.0), machine(range(10, 20), usd=60.0))).pools
    assert (pool.usd_per_hour, pool.usd) == pytest.approx((55.0, 1100.0))
    assert pool.on_demand.sum() == 20


def test_pools_differ_by_work(path: Path) -> None:
    staging = {"environment": "staging"}
    fleet = fleet_of(
        path,
        chain(machine([0], tags=DEFERRABLE), machine([0], name="i-2", tags=staging), machine([0], name="i-3")),
    )
    assert {(pool.may_wait, pool.non_production, pool.served) for pool in fleet.pools} == {
        (True, False, False),
        (False, True, True),
        (False, False, True),
    }


def test_serving_selects_pools(path: Path) -> None:
    rows = chain(machine([0], tags={"service": "chat"}), machine([0], name="i-2", tags={"service": "other"}))
    fleet = fleet_of(path, rows, (("tag:service", "chat*"),))
    assert {pool.names: pool.served for pool in fleet.pools} == {("chat",): True, ("other",): False}


def test_committed_hours_are_sunk(path: Path) -> None:
    rows = chain(
        machine(range(4), usd=50.0), savings_plan(range(4), 4, commitment=80.0, rate=40.0, listed=55.0, count=2)
    )
    (pool,) = fleet_of(path, rows).pools
    assert list(pool.on_demand) == [1.0] * 4
    assert list(pool.committed) == [2.0] * 4
    assert list(pool.machines) == [3.0] * 4
    assert pool.usd == pytest.approx(200.0)


def test_rates_by_purchase_option(path: Path) -> None:
    """A plan covers half a machine at 20 an hour: 40 a machine; three hours on spot at 4, one at 8: 5."""
    fleet = fleet_of(
        path,
        chain(
            savings_plan(range(4), 4, commitment=20.0, rate=40.0, listed=55.04, count=0.5),
            reservation(range(4), 8, instance="g5.12xlarge", rate=3.5, listed=5.672),
            machine(range(3), usd=4.0, list_usd=55.04, spot=True, name="i-3"),
            machine([3], usd=8.0, list_usd=55.04, spot=True, name="i-3"),
        ),
    )
    g5 = replace(P5, instance="g5.12xlarge")
    assert fleet.rates.savings_plan == pytest.approx({P5: 40.0})
    assert fleet.rates.reserved == pytest.approx({g5: 3.5})
    assert fleet.rates.spot == pytest.approx({P5: 5.0})
    assert fleet.rates.listed == pytest.approx({P5: 55.04, g5: 5.672})


def test_reservation_fee_is_no_machine_hour(path: Path) -> None:
    (pool,) = fleet_of(path, reservation([0], 24, instance="g5.12xlarge", rate=3.5, listed=5.672)).pools
    assert pool.committed.sum() == 1


def test_correction_cannot_leave_negative_hours(path: Path) -> None:
    back = [row | {"line_item_usage_amount": "-3"} for row in machine([1], usd=5.0)]
    (pool,) = fleet_of(path, chain(machine([0], usd=5.0), back)).pools
    assert list(pool.on_demand) == [1.0, 0.0]


def test_hours_span_the_whole_bill(path: Path) -> None:
    storage = line("Usage", 9, 1.0, line_item_product_code="AmazonS3", line_item_usage_type="TimedStorage")
    fleet = fleet_of(path, [*machine([2]), storage])
    assert (fleet.start - START).total_seconds() == 2 * 3600
    assert fleet.hours == 8
    assert list(fleet.hour_of_week[:2]) == [2, 3]


def test_daily_bill_is_not_hourly(path: Path) -> None:
    day = [
        row | {"line_item_usage_end_date": "2026-10-06T00:00:00Z", "line_item_usage_amount": "24"}
        for row in machine([0], usd=48.0)
    ]
    fleet = fleet_of(path, day)
    assert (fleet.step_h, fleet.hourly, fleet.hours) == (24.0, False, DAY)
    (pool,) = fleet.pools
    assert np.allclose(pool.on_demand, 1.0)
    assert pool.usd_per_hour == pytest.approx(2.0)


def test_bill_without_machine_hours(path: Path) -> None:
    bill = bills.read(write(path, [line("Usage", 0, 5.0, line_item_product_code="AmazonS3")]))
    assert read_fleet(bill, bills.hourly_groups(bill.spans, bill.groups)) is None


def test_new_cost_keeps_hours(path: Path) -> None:
    (pool,) = fleet_of(path, machine(range(10), usd=50.0)).pools
    cheaper = pool.at_cost(300.0)
    assert (cheaper.usd_per_hour, cheaper.on_demand.sum()) == pytest.approx((30.0, 10.0))


def test_names_are_shortened(path: Path) -> None:
    rows = chain(*(machine([0], name=f"i-{tag}", tags={"service": tag}) for tag in "abcde"))
    (pool,) = fleet_of(path, rows).pools
    assert pool.serves == " (a, b, c and 2 more)"
    assert replace(pool, names=()).serves == ""


def test_machine_names_include_the_region() -> None:
    assert (P5.key, P5.label) == ("aws us-east-1 p5.48xlarge", "p5.48xlarge in us-east-1")
    assert (replace(P5, region="").key, replace(P5, region="").label) == ("aws p5.48xlarge", "p5.48xlarge")


def test_corrected_commitments_reduce_nothing_else() -> None:
    """A negative unused part of a plan is netted with other unused parts; usage stays at its price."""
    unused = charges(("aws", "savings_plan", 40.0), ("aws", "savings_plan", -10.0)).with_columns(
        unused=pl.lit(value=True)
    )
    assert paid_share(pl.concat([charges(("aws", "on_demand", 60.0)), unused])) == {"aws": 1.0}


def test_small_amounts_have_shares() -> None:
    """Half a dollar of usage halved by a credit; half a dollar given back of a hundred."""
    groups = charges(
        ("aws", "on_demand", 0.5), ("aws", "credit", -0.25), ("gcp", "on_demand", 100.0), ("gcp", "on_demand", -0.5)
    )
    assert paid_share(groups) == pytest.approx({"aws": 0.5, "gcp": 0.995})


@pytest.mark.parametrize(
    ("unit", "instance", "unused", "listed", "paid", "ran"),
    [
        ("Hrs", "p5", False, 5.0, 0.0, True),
        ("Hrs", "p5", False, None, 0.5, True),
        ("Hrs", "p5", False, 0.0, 0.5, True),
        ("Hrs", "p5", False, 0.0, 0.0, False),
        ("Hrs", "p5", False, None, 0.0, False),
        ("Hrs", "p5", True, 5.0, 5.0, False),
        ("Hrs", None, False, 5.0, 5.0, False),
        ("GB", "p5", False, 5.0, 5.0, False),
        (None, "p5", False, 5.0, 5.0, False),
    ],
)
def test_which_charges_are_machine_hours(
    unit: str | None, instance: str | None, *, unused: bool, listed: float | None, paid: float, ran: bool
) -> None:
    row = {"unit": unit, "instance_type": instance, "unused": unused, "list_usd": listed, "amortised_usd": paid}
    types = {"unit": pl.String, "list_usd": pl.Float64}
    assert pl.DataFrame([row], schema_overrides=types).filter(machine_hours()).height == int(ran)


def test_hours_of_the_week_wrap(path: Path) -> None:
    """Wednesday 05:00 is hour 53; 115 hours later a week begins."""
    fleet = replace(fleet_of(path, machine([0])), start=START + dt.timedelta(days=2, hours=5), hours=200)
    assert [fleet.hour_of_week[at] for at in (0, 1, 114, 115, 199)] == [53, 54, 167, 0, 84]
    assert [replace(fleet, step_h=step_h).hourly for step_h in (0.5, 1.0, 2.0)] == [True, True, False]


def test_charges_of_a_day_extend_the_bill(path: Path) -> None:
    """Storage charged by the day belongs to the bill's hours, by two days does not."""
    for days, hours in ((1, 24), (2, 1)):
        storage = line("Usage", 0, 1.0, line_item_product_code="AmazonS3", line_item_usage_type="TimedStorage")
        end = (START + dt.timedelta(days=days)).isoformat()
        assert fleet_of(path, [*machine([0]), storage | {"line_item_usage_end_date": end}]).hours == hours


def test_half_a_machine_has_a_whole_price(path: Path) -> None:
    (pool,) = fleet_of(path, machine([0], usd=50.0, count=0.5, tags={"service": "chat"})).pools
    assert (pool.usd_per_hour, pool.names) == (pytest.approx(50.0), ("chat",))


def test_names_are_those_bought_on_demand(path: Path) -> None:
    covered = [
        row | {"resource_tags": '{"service": "batch"}'}
        for row in reservation([0], 1, instance="p5.48xlarge", rate=3.5, listed=5.0)
    ]
    (pool,) = fleet_of(path, covered).pools
    assert (pool.names, pool.usd_per_hour, pool.usd) == (("batch",), 0.0, 0.0)
    (both,) = fleet_of(path, [*covered, *machine([0], count=0.5, tags={"service": "chat"})]).pools
    assert both.names == ("chat",)


def test_correction_leaves_no_negative_price(path: Path) -> None:
    rows = chain(machine([0], usd=5.0), machine([1], usd=-9.0, list_usd=5.0))
    (pool,) = fleet_of(path, rows).pools
    assert (pool.usd_per_hour, pool.on_demand.sum()) == (0.0, 2.0)


def test_charge_without_quantity_adds_no_hours(path: Path) -> None:
    unstated = [row | {"line_item_usage_amount": None} for row in machine([0], usd=5.0)]
    (pool,) = fleet_of(path, [*machine([0], usd=5.0), *unstated]).pools
    assert list(pool.on_demand) == [1.0]


def test_rates_need_hours_and_dollars(path: Path) -> None:
    """No list price of zero, and no rate of a charge without hours."""
    none = [row | {"line_item_usage_amount": "0"} for row in machine([0], instance="g5.12xlarge", spot=True)]
    fleet = fleet_of(path, [*machine([0], usd=5.0, list_usd=0.0), *none])
    assert (fleet.rates.listed, fleet.rates.spot) == ({}, {})


def test_three_names_are_shown(path: Path) -> None:
    (pool,) = fleet_of(path, machine([0])).pools
    assert replace(pool, names=("a", "b", "c")).serves == " (a, b, c)"


def test_step_of_most_machine_hours() -> None:
    shape = pl.DataFrame({"step_h": [24, 1, 1], "quantity": [15.0, 10.0, 6.0]})
    assert _step_h(shape) == 1.0


def test_most_expensive_pool_first(path: Path) -> None:
    small, large = (machine([0], instance=f"g5.{size}xlarge", usd=usd) for size, usd in ((2, 1.0), (12, 5.0)))
    middle = machine([0], instance="g5.8xlarge", usd=3.0)
    assert [pool.usd for pool in fleet_of(path, chain(small, large, middle)).pools] == pytest.approx([5.0, 3.0, 1.0])
