"""Rows that sum up others, in tables as spreadsheets and invoices have them."""

from decimal import Decimal
from pathlib import Path

import pytest

from meritorder import bills
from meritorder.errors import BillError

COLUMNS = {"start": "Date", "cost": "Amount", "instance": "Instance"}
CHARGES = ("2026-10-01,h100,100.10", "2026-10-02,h100,200.20", "2026-10-03,a100,50.05")
"""350.35 in all, 300.30 of it for h100."""


def read(folder: Path, *rows: str, partial: bool = False) -> bills.Bill:
    path = folder / "bill.csv"
    path.write_text("\n".join(("Date,Instance,Amount", *rows, "")), encoding="utf-8")
    return bills.read(path, columns=COLUMNS, partial=partial)


def assumed(bill: bills.Bill) -> str:
    return "; ".join(assumption.text for assumption in bill.report.assumptions)


@pytest.mark.parametrize(
    "total",
    [
        "Total,,350.35",
        ",Grand total:,350.35",
        ",,350.35",
        ",,350.36",
        "Summe,,350.35",
        "2026-10-31,TOTAL,350.35",
        ",Amount due,350.35",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_total_is_not_counted(tmp_path: Path, total: str, *, first: bool) -> None:
    rows = (total, *CHARGES) if first else (*CHARGES, total)
    bill = read(tmp_path, *rows)
    assert (bill.report.billed_usd, bill.report.rows, bill.report.refused_rows) == (Decimal("350.35"), 3, 0)
    assert f"row {2 if first else 5}" in assumed(bill)
    assert "is the sum of others" in assumed(bill)
    assert bill.charges.collect().height == 3


def test_subtotals_are_not_counted(tmp_path: Path) -> None:
    bill = read(tmp_path, *CHARGES[:2], ",h100 Total,300.30", CHARGES[2], ",a100 Total,50.05", ",Total general,350.35")
    assert bill.report.billed_usd == Decimal("350.35")
    assert "3 rows, such as row 4 (h100 Total), $300.30," in assumed(bill)


def test_other_total_is_refused(tmp_path: Path) -> None:
    """400 is said, 350.35 is there: 400 of 750.35 dollars are unread."""
    rows = (*CHARGES, "Total,,400")
    with pytest.raises(BillError, match=r"53 %.* 'Total' of \$400.00, but all rows above it are \$350.35; .* row 5"):
        read(tmp_path, *rows)
    report = read(tmp_path, *rows, partial=True).report
    assert (report.billed_usd, report.refused_usd) == (Decimal("350.35"), Decimal(400))


def test_product_named_total_is_counted(tmp_path: Path) -> None:
    """A charge of its own that says total, before the total of all: 100.10 + 200.20 + 50.05 + 9 = 359.35."""
    bill = read(tmp_path, *CHARGES, "2026-10-04,Total Defense,9", "Total,,359.35")
    assert (bill.report.billed_usd, bill.report.rows) == (Decimal("359.35"), 4)


def test_unknown_amount_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BillError, match="no readable time"):
        read(tmp_path, *CHARGES, ",,77")


def test_like_amounts_are_no_total(tmp_path: Path) -> None:
    """A day that costs as much as all others together is a charge."""
    bill = read(tmp_path, "2026-10-01,h100,10", "2026-10-02,h100,5", "2026-10-03,h100,5")
    assert bill.report.billed_usd == Decimal(20)


def test_notes_are_no_charges(tmp_path: Path) -> None:
    bill = read(tmp_path, *CHARGES, ",,", "* prices without tax,,")
    assert (bill.report.rows, bill.report.refused_rows) == (3, 0)
    assert "row 6 without time and amount left out" in assumed(bill)


def test_header_within_is_no_charge(tmp_path: Path) -> None:
    bill = read(tmp_path, *CHARGES[:2], "Date,Instance,Amount", CHARGES[2])
    assert (bill.report.billed_usd, bill.report.rows) == (Decimal("350.35"), 3)


def test_totals_of_parts_are_not_counted(tmp_path: Path) -> None:
    """Totals by machine at the file's end adjoin none of their rows; the last one confirms that none is missing."""
    rows = ("2026-10-01,h100,10", "2026-10-01,a100,5", "2026-10-02,h100,20", "2026-10-02,a100,7")
    totals = (",Total for h100,30", ",Total for a100,12", ",Total,42")
    report = read(tmp_path, *rows, *totals).report
    assert (report.billed_usd, report.rows, report.refused_rows) == (Decimal(42), 4, 0)


@pytest.mark.parametrize("date", ["9999-12-31", "31.12.9999", "soon"])
def test_unreadable_date_is_no_total(tmp_path: Path, date: str) -> None:
    """A row like the one above it, whose date is a mistake, is refused rather than taken as the sum of one row."""
    with pytest.raises(BillError, match="no readable time"):
        read(tmp_path, "2026-10-01,h100,10", f"{date},h100,10")


def test_bare_row_is_no_total_of_one(tmp_path: Path) -> None:
    with pytest.raises(BillError, match="no readable time"):
        read(tmp_path, "2026-10-01,h100,10", ",,10")


def test_products_with_total_in_their_name_are_charges(tmp_path: Path) -> None:
    """Small dated charges, of which some happen to be the sum of two before them."""
    rows = [f"2026-10-0{day},Total bytes out,0.02" for day in range(1, 4)]
    rows += [f"2026-10-0{day},storage,0.01" for day in range(1, 7)]
    report = read(tmp_path, *rows[3:5], rows[0], *rows[5:7], rows[1], *rows[7:9], rows[2]).report
    assert (report.billed_usd, report.rows) == (Decimal("0.12"), 9)


def test_small_amounts_are_no_totals_of_each_other(tmp_path: Path) -> None:
    """A cent more or less is all of such an amount: ",,0.005" is not the sum of 0.002 and 0.001."""
    with pytest.raises(BillError, match="no readable time"):
        read(tmp_path, "2026-10-01,h100,0.002", "2026-10-02,h100,0.001", ",,0.005")


@pytest.mark.parametrize(
    "levels",
    [("AccountTotal",), ("AccountTotal", "InvoiceTotal"), ("AccountTotal", "StatementTotal", "InvoiceTotal")],
)
def test_levels_of_totals(tmp_path: Path, levels: tuple[str, ...]) -> None:
    """Invoices total accounts, statements and themselves, in a column that is not named and with a date."""
    path = tmp_path / "bill.csv"
    rows = [f"2026-10-31,{level},,350.35" for level in levels]
    path.write_text(
        "\n".join(("Date,Kind,Instance,Amount", *(c.replace(",", ",Line,", 1) for c in CHARGES), *rows, ""))
    )
    assert bills.read(path, columns=COLUMNS).report.billed_usd == Decimal("350.35")


def test_total_of_one_row(tmp_path: Path) -> None:
    bill = read(tmp_path, CHARGES[0], "2026-10-31,Total,100.10")
    assert (bill.report.billed_usd, bill.report.rows) == (Decimal("100.1"), 1)
