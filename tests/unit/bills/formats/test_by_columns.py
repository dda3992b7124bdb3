"""The format of a bill whose columns the user names."""

import shlex
from decimal import Decimal
from pathlib import Path

import pytest

from meritorder import bills
from meritorder.bills.formats.by_columns import proposal
from meritorder.cli.parsing import parse_pairs
from meritorder.errors import BillError

INVOICE = (
    "Day,Product,Node Hours,Net Amount,Project\n"
    "2026-10-01,gpu_8x_h100_sxm5,24,478.56,chat\n"
    "2026-10-02,gpu_8x_h100_sxm5,12,239.28,chat\n"
    "2026-10-02,Persistent storage,,3.10,chat\n"
)
NAMED = {"start": "Day", "instance": "Product", "hours": "Node Hours", "cost": "Net Amount", "account": "Project"}


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_columns_named_by_the_user(tmp_path: Path) -> None:
    """A GPU cloud without a format of its own: machines are recognized by their name and counted in hours."""
    bill = bills.read(written(tmp_path / "invoice.csv", INVOICE), columns=NAMED)
    assert bill.report.billed_usd == Decimal("720.94")
    machines = bill.groups.filter(bill.groups["kind"] == "accelerator")
    assert machines.select("amortised_usd", "quantity", "unit", "account").rows() == [
        (Decimal("717.84"), 36.0, "Hours", "chat")
    ]


def test_sums_of_named_columns(tmp_path: Path) -> None:
    text = "Day,Net,Surcharge\n2026-10-01,4,0.5\n2026-10-02,2,\n"
    bill = bills.read(written(tmp_path / "a.csv", text), columns={"start": "Day", "cost": "Net+Surcharge"})
    assert bill.report.billed_usd == Decimal("6.5")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"start": "Day"}, "a bill needs its cost; write --columns start=Date,cost=Amount"),
        ({"cost": "Net Amount"}, "a bill needs its start"),
        ({"start": "Day", "cost": "Price"}, "no column Price; its columns are Day, Net Amount"),
        ({"start": "Day", "cost": "Net Amount", "color": "x"}, "a bill has no column named color; the names are start"),
    ],
)
def test_wrong_names_are_one_line(tmp_path: Path, named: dict[str, str], message: str) -> None:
    with pytest.raises(BillError) as caught:
        bills.read(written(tmp_path / "invoice.csv", INVOICE), columns=named)
    assert message in str(caught.value)


def test_unknown_bill_suggests_its_columns(tmp_path: Path) -> None:
    """The line reads the bill as it is printed; 717.84 of 720.94 dollars are for machines."""
    path = written(tmp_path / "invoice.csv", INVOICE)
    with pytest.raises(BillError) as caught:
        bills.read(path)
    line = str(caught.value).partition("add --columns ")[2].partition("; else")[0]
    bill = bills.read(path, columns=parse_pairs(shlex.split(line)[0], "--columns"))
    assert bill.report.billed_usd == Decimal("720.94")
    assert bill.groups.filter(bill.groups["kind"] == "accelerator")["quantity"].to_list() == [36.0]


@pytest.mark.parametrize(
    ("header", "proposed"),
    [
        (
            "Start,End,Instance ID,Instance type,Hours,Rate,Amount",
            "start=Start,end=End,cost=Amount,instance=Instance type",
        ),
        ("Date,Unit price,Cost before credits,Credits,Cost,SKU", "start=Date,cost=Cost,instance=SKU"),
        (
            "Date de début,Date de fin,Produit,Montant",
            "start=Date de début,end=Date de fin,cost=Montant,instance=Produit",
        ),
        ("Month,Vendor,Product,Cost", "start=Month,cost=Cost,instance=Product,provider=Vendor,service=Product"),
        ("A,B,C", "start=Date,cost=Amount"),
    ],
)
def test_columns_by_their_words(header: str, proposed: str) -> None:
    assert proposed in proposal(frozenset(header.split(",")))


def test_like_machines_are_counted_each(tmp_path: Path) -> None:
    """Two rows that name no machine may be two machines."""
    text = INVOICE + INVOICE.splitlines()[1] + "\n"
    bill = bills.read(written(tmp_path / "a.csv", text), columns=NAMED)
    assert bill.report.billed_usd == Decimal("720.94") + Decimal("478.56")


@pytest.mark.parametrize("period", ["10/13/2026 - 10/31/2026", "2026-10-13/2026-10-31", "2026-10-13 to 2026-10-31"])
def test_periods_in_one_cell(tmp_path: Path, period: str) -> None:
    path = written(tmp_path / "a.csv", f"Period,Amount\n{period},5\n")
    bill = bills.read(path, columns={"start": "Period", "cost": "Amount"})
    assert f"{bill.report.period_start:%F}" == "2026-10-13"


def test_correction_of_half_an_hour_is_no_credit(tmp_path: Path) -> None:
    """A negative amount for a negative quantity takes back a charge; for none, it is a credit."""
    path = tmp_path / "bill.csv"
    path.write_text("Date,Instance,Hours,Amount\n2026-10-01,h100,1,2\n2026-10-01,h100,-0.5,-1\n2026-10-01,,,-0.25\n")
    named = {"start": "Date", "cost": "Amount", "instance": "Instance", "hours": "Hours"}
    rows = bills.read(path, columns=named).charges.select("billed_usd", "purchase").collect().rows()
    assert sorted(rows) == [
        (Decimal(-1), "on_demand"),
        (Decimal("-0.25"), "credit"),
        (Decimal(2), "on_demand"),
    ]
