"""Bills whose figures are known: the golden bill, both twins of a month, and samples of the specification."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from tests.golden.bill_files import CUR, FOCUS

from meritorder import bills

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "bills"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the bills in {DATA}")

TWINS = {"rows_cur": "aws_cur2_llm_2026-10.csv", "rows_focus": "focus12_llm_2026-10.csv"}
CENT = Decimal("0.01")


def _unused(bill: bills.Bill, purchase: bills.PurchaseOption) -> Decimal:
    return Decimal(bills.sum_commitments(bill.groups).filter(purchase=purchase)["unused_usd"].sum())


def _could_wait(bill: bills.Bill) -> Decimal:
    realtime = bills.sum_tokens(bill.groups).filter(pl.col("may_wait") & ~pl.col("tier").is_in(["batch", "flex"]))
    return Decimal(realtime["amortised_usd"].sum())


def _committed(bill: bills.Bill, purchase: bills.PurchaseOption) -> Decimal:
    plans = bills.sum_commitments(bill.groups).filter(purchase=purchase)
    return Decimal(plans["used_usd"].sum() + plans["unused_usd"].sum())


FIGURES: dict[str, Callable[[bills.Bill], Decimal | None]] = {
    "on_demand_gpu": lambda bill: bills.compute_figures(bills.select_inference(bill.groups)).on_demand_usd,
    "spot": lambda bill: bills.compute_figures(bill.groups).spot_usd,
    "bedrock": lambda bill: Decimal(bill.groups.filter(service="AmazonBedrock")["amortised_usd"].sum()),
    "bedrock_realtime_but_deferrable": _could_wait,
    "capacity_block": lambda bill: bills.compute_figures(bill.groups).capacity_block_usd,
    "cur_unblended": lambda bill: bills.compute_figures(bill.groups).billed_usd,
    "cur_amortized": lambda bill: bills.compute_figures(bill.groups).amortised_usd,
    "focus_billed": lambda bill: bills.compute_figures(bill.groups).billed_usd,
    "focus_effective": lambda bill: bills.compute_figures(bill.groups).amortised_usd,
    "unused_sp": lambda bill: _unused(bill, bills.PurchaseOption.SAVINGS_PLAN),
    "unused_ri": lambda bill: _unused(bill, bills.PurchaseOption.RESERVED),
    "sp_commit": lambda bill: _committed(bill, bills.PurchaseOption.SAVINGS_PLAN),
    "on_demand_equivalent_ex_spot": lambda bill: bills.compute_figures(bill.groups).on_demand_equivalent_usd,
    "effective_ex_spot": lambda bill: bills.compute_figures(bill.groups).effective_usd,
}

RATES: dict[str, Callable[[bills.Bill], Decimal | None]] = {
    "effective_savings_rate_ex_spot": lambda bill: bills.compute_figures(bill.groups).effective_savings_rate,
    "sp_utilisation": lambda bill: (
        1 - _unused(bill, bills.PurchaseOption.SAVINGS_PLAN) / _committed(bill, bills.PurchaseOption.SAVINGS_PLAN)
    ),
}


@needs_data
@pytest.mark.parametrize("rows", TWINS)
def test_both_twins_to_the_cent(rows: str) -> None:
    truth = json.loads((DATA / "truth.json").read_text(), parse_float=Decimal)
    bill = bills.read(DATA / TWINS[rows])
    assert set(truth) == set(FIGURES) | set(RATES) | set(TWINS)
    money = {name: made(bill) for name, made in FIGURES.items()}
    assert {name: value.quantize(CENT) for name, value in money.items() if value is not None} == {
        name: truth[name].quantize(CENT) for name in FIGURES
    }
    rates = {name: made(bill) for name, made in RATES.items()}
    assert {name: round(value, 6) for name, value in rates.items() if value is not None} == {
        name: truth[name] for name in RATES
    }
    assert (bill.report.rows, bill.report.problems) == (truth[rows], ())


def _preview(twin: pl.DataFrame) -> pl.DataFrame:
    """Write FOCUS 1.2 as 1.0-preview: its names, its pricing categories, none of the later columns."""
    later = (
        "InvoiceId",
        "PricingCurrency",
        "SkuMeter",
        "ServiceSubcategory",
        "CapacityReservationId",
        "ContractedCost",
    )
    names = {
        "CommitmentDiscountStatus": "ChargeSubcategory",
        "RegionId": "Region",
        "ConsumedUnit": "UsageUnit",
    }
    return (
        twin.drop(*later, "CapacityReservationStatus", "ChargeClass", "CommitmentDiscountUnit")
        .with_columns(
            pl.col("PricingCategory").replace({"Standard": "On-Demand", "Committed": "Commitment-Based"}),
            pl.col("CommitmentDiscountStatus").replace({"Used": "Used Commitment", "Unused": "Unused Commitment"}),
        )
        .rename(names | {"ConsumedQuantity": "UsageQuantity"})
    )


def _doubles(twin: pl.DataFrame) -> pl.DataFrame:
    """Write amounts and times as Parquet exports do."""
    return twin.with_columns(
        pl.col("BilledCost", "EffectiveCost", "ListCost", "ConsumedQuantity").cast(pl.Float64),
        pl.col("ChargePeriodStart", "ChargePeriodEnd").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="ms"),
    )


VERSIONS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "FOCUS 1.0-preview": _preview,
    "FOCUS 1.1": lambda twin: twin.drop("InvoiceId", "PricingCurrency"),
    "FOCUS 1.2": _doubles,
    "FOCUS 1.3": lambda twin: twin.rename({"ProviderName": "ServiceProviderName"}).drop("PublisherName"),
}


@needs_data
@pytest.mark.parametrize("title", VERSIONS)
def test_focus_versions_have_equal_figures(title: str, tmp_path: Path) -> None:
    twin = pl.read_csv(DATA / TWINS["rows_focus"], infer_schema=False)
    VERSIONS[title](twin).write_parquet(tmp_path / "bill.parquet")
    bill = bills.read(tmp_path)
    assert bill.report.files[0].title == title
    assert bills.compute_figures(bill.groups) == bills.compute_figures(bills.read(DATA / TWINS["rows_focus"]).groups)


@needs_data
def test_copies_change_no_figure(tmp_path: Path) -> None:
    month = pl.read_csv(DATA / TWINS["rows_cur"], infer_schema=False)
    pl.concat([month, month.sample(200, seed=1)]).write_csv(tmp_path / "cur.csv")
    bill = bills.read(tmp_path)
    assert bill.report.duplicate_rows == 200
    assert bills.compute_figures(bill.groups) == bills.compute_figures(bills.read(DATA / TWINS["rows_cur"]).groups)


@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "billed"),
    [
        ("focus_1.0_official_sample.csv", 1000, "20.52022672899"),
        ("focus_1.2_generated_aws.csv", 5000, "106874.055132386051"),
        ("focus_1.2_generated_gcp.csv", 5000, "139261.776145436912"),
    ],
)
def test_other_bills_need_no_special_case(name: str, rows: int, billed: str) -> None:
    report = bills.read(DATA / name).report
    assert (report.rows, report.refused_rows, report.duplicate_rows) == (rows, 0, 0)
    assert report.billed_usd == report.stated_usd == Decimal(billed)
    column = pl.read_csv(DATA / name, infer_schema=False)["BilledCost"]
    assert abs(sum(map(Decimal, column)) - report.billed_usd) < CENT


@needs_data
@pytest.mark.parametrize("provider", ["aws", "gcp"])
def test_generated_commitments_add_up(provider: str) -> None:
    bill = bills.read(DATA / f"focus_1.2_generated_{provider}.csv")
    made = bills.compute_figures(bill.groups)
    assert made.billed_usd == made.amortised_usd
    commitments = bills.sum_commitments(bill.groups)
    assert commitments["billed_usd"].sum() == made.commitment_usd


@needs_data
def test_hourly_charges_sum_to_the_bill() -> None:
    bill = bills.read(DATA / TWINS["rows_cur"])
    shape = bills.hourly_charges(bill.charges, "kind")
    assert shape["hour"].n_unique() == 744
    assert shape["amortised_usd"].sum() == pytest.approx(161525.482924)


@pytest.mark.parametrize("path", [CUR, FOCUS], ids=lambda path: path.stem)
def test_golden_bill_to_the_cent(path: Path) -> None:
    """Sums of the bill's lines by hand: hours times prices, as `tests.golden.bill_files` lists them."""
    bill = bills.read(path)
    on_demand, spot, plan, reservation = Decimal("1560.96"), Decimal(40), Decimal(24) * 24, Decimal("3.5") * 24
    tokens, rest = Decimal(72) + Decimal("28.8") + Decimal(48), Decimal(100) - 20 - 5
    figures = bills.compute_figures(bills.select_inference(bill.groups))
    assert figures.amortised_usd == on_demand + spot + plan + reservation + tokens + rest == Decimal("2484.76")
    assert (figures.on_demand_usd, figures.spot_usd, figures.tokens_usd) == (on_demand, spot, tokens)
    assert figures.capacity_block_usd == 100
    used = 18 * Decimal("20.64") + 10 * Decimal("3.5")
    assert (figures.used_commitment_usd, figures.unused_commitment_usd) == (used, plan + reservation - used)
    assert figures.commitment_utilization == pytest.approx(Decimal("406.52") / 660)
    listed = 24 * Decimal("55.04") + 24 * Decimal("10.5") + 18 * Decimal("27.52") + 10 * Decimal("5.672")
    assert figures.on_demand_equivalent_usd == listed == Decimal("2125.04")
    assert figures.effective_usd == on_demand + plan + reservation
    assert figures.commitment_coverage == pytest.approx((18 * Decimal("27.52") + 10 * Decimal("5.672")) / listed)
    whole = bills.compute_figures(bill.groups)
    assert whole.billed_usd == whole.amortised_usd == Decimal("2484.76") + 10 + 5
