"""Cross tables of costs: every cell is counted once, and no total is."""

from decimal import Decimal
from pathlib import Path

import pytest

from meritorder import bills
from meritorder.bills.formats.crosstab import is_crosstab
from meritorder.errors import BillError

BY_SERVICE = (
    '"Service","EC2-Instances($)","Bedrock($)","Tax($)","Total costs($)"\n'
    '"Service total","2100","500","50","2650"\n'
    '"2026-08-01","1000","200","50","1250"\n'
    '"2026-09-01","1100","300","","1400"\n'
)
BY_MONTH = (
    "Service,Service total,2026-08-01,2026-09-01\n"
    "Total costs($),2650,1250,1400\n"
    "EC2-Instances($),2100,1000,1100\n"
    "Bedrock($),500,200,300\n"
    "Tax($),50,50,\n"
)


def bill_of(path: Path, text: str, **options: object) -> bills.Bill:
    path.write_text(text, encoding="utf-8")
    return bills.read(path, **options)  # type: ignore[arg-type]


def inference_usd(bill: bills.Bill) -> Decimal:
    return Decimal(bill.groups.filter(bill.groups["kind"].is_not_null())["amortised_usd"].sum())


@pytest.mark.parametrize("text", [BY_SERVICE, BY_MONTH, BY_SERVICE.replace(",", ";")])
def test_totals_of_rows_and_columns(tmp_path: Path, text: str) -> None:
    """1,000 + 1,100 for machines, 200 + 300 for Bedrock, and 50 of tax; either side may have the periods."""
    bill = bill_of(tmp_path / "costs.csv", text)
    assert (bill.report.billed_usd, bill.report.refused_rows) == (Decimal(2650), 0)
    assert inference_usd(bill) == 500
    assert bill.groups.filter(bill.groups["purchase"] == "tax")["billed_usd"].to_list() == [Decimal(50)]
    assert f"{bill.report.period_start:%F} {bill.report.period_end:%F}" == "2026-08-01 2026-10-01"


def test_machines_by_usage_type(tmp_path: Path) -> None:
    """Usage types name machines: 3 of the 4 dollars are for a p5."""
    text = (
        "Usage type,USE1-BoxUsage:p5.48xlarge($),USE1-BoxUsage:m6i.large($),USE1-BoxUsage:p5.48xlarge(Hrs),"
        "Total costs($)\nUsage type total,3,1,24,4\n2026-10-02,2,0.5,12,2.5\n2026-10-03,1,0.5,12,1.5\n"
    )
    bill = bill_of(tmp_path / "costs.csv", text)
    assert (bill.report.billed_usd, inference_usd(bill)) == (Decimal(4), Decimal(3))
    assert set(bill.groups["provider"]) == {"aws"}
    assert f"{bill.report.period_end:%F}" == "2026-10-04"


def test_models_of_marketplaces_are_inference(tmp_path: Path) -> None:
    text = "Service,Claude Sonnet 4.5 (Amazon Bedrock Edition)($),S3($),Total costs($)\n2026-10-01,7,1,8\n"
    bill = bill_of(tmp_path / "costs.csv", text)
    assert (bill.report.billed_usd, inference_usd(bill)) == (Decimal(8), Decimal(7))


def test_months_of_a_spreadsheet(tmp_path: Path) -> None:
    """Written as people write them: names of months, thousands, subtotals, and a mean, which is no cost."""
    text = (
        "Provider,Service,Sep 2026,Oct 2026,Total,Average\n"
        'AWS,Amazon Bedrock,"1,000.50","1,200.00","2,200.50","1,100.25"\n'
        "AWS,Amazon S3,10,12,22,11\n"
        'AWS subtotal,,"1,010.50","1,212.00","2,222.50",\n'
        "OpenAI,API,20,30,50,25\n"
        'Total,,"1,030.50","1,242.00","2,272.50",\n'
    )
    bill = bill_of(tmp_path / "costs.csv", text)
    assert (bill.report.billed_usd, inference_usd(bill)) == (Decimal("2272.5"), Decimal("2250.5"))


def test_total_that_differs_is_refused(tmp_path: Path) -> None:
    """A column is missing: 1,000 + 200 is not 1,250."""
    text = "Service,EC2-Instances($),Bedrock($),Total costs($)\n2026-08-01,1000,200,1250\n"
    with pytest.raises(BillError, match="the total of the row is not the sum of its columns"):
        bill_of(tmp_path / "costs.csv", text)


def test_currency_of_the_cells(tmp_path: Path) -> None:
    text = "Service,Bedrock(€),Total costs(€)\n2026-08-01,100,100\n"
    with pytest.raises(BillError, match="the bill is in EUR, not in USD"):
        bill_of(tmp_path / "costs.csv", text)
    assert bill_of(tmp_path / "costs.csv", text, rates={"EUR": Decimal("1.1")}).report.billed_usd == 110


@pytest.mark.parametrize(
    "columns",
    [
        ("Date", "List cost ($)", "Paid ($)"),
        ("Service description", "Service ID", "Cost ($)", "Subtotal ($)"),
        ("Date", "Cost"),
        ("2026-08", "2026-09"),
        ("Region", "1.2.3", "Cost"),
    ],
)
def test_other_tables_are_no_cross_tables(columns: tuple[str, ...]) -> None:
    """Two amounts of the same charge are not two charges."""
    assert not is_crosstab(frozenset(columns))


@pytest.mark.parametrize("total", ["Total costs($)", "Custos totais($)", "Sum($)", "Everything($)"])
def test_sum_under_any_name(tmp_path: Path, total: str) -> None:
    """1 + 2 and 2 + 2: the last column is their sum in all rows, whatever it is named."""
    text = f"Service,Bedrock($),S3($),{total}\n2026-08-01,1,2,3\n2026-09-01,2,2,4\n"
    assert bill_of(tmp_path / "costs.csv", text).report.billed_usd == 7


def test_means_are_no_costs(tmp_path: Path) -> None:
    text = "Service,Bedrock($),S3($),Average($)\n2026-08-01,1,2,1.5\n2026-09-01,2,2,2\n"
    assert bill_of(tmp_path / "costs.csv", text).report.billed_usd == 7


def test_headings_in_any_language(tmp_path: Path) -> None:
    """The names below an unknown heading are services, of which Bedrock is inference."""
    text = "Dienst;01.08.2026;01.09.2026;Gesamt\nAmazon Bedrock;1.000,50;1.200;2.200,50\nAmazon S3;10;12;22\n"
    bill = bill_of(tmp_path / "costs.csv", text)
    assert (bill.report.billed_usd, inference_usd(bill)) == (Decimal("2222.5"), Decimal("2200.5"))


def test_sum_of_an_empty_row(tmp_path: Path) -> None:
    """A month without costs does not make the column of sums, 1 + 2 = 3, a service."""
    text = "Service,Bedrock($),S3($),All($)\n2026-08-01,1,2,3\n2026-09-01,,,\n"
    assert bill_of(tmp_path / "costs.csv", text).report.billed_usd == 3
