"""Formats that are tables of columns, and columns that the user names."""

from decimal import Decimal
from pathlib import Path

import pytest

from meritorder import bills
from meritorder.errors import BillError

GENERATIONS = (
    "generation_id,created_at,cost_total,tokens_prompt,tokens_completion,model_permaslug,provider_name\n"
    "gen-1,2026-11-02 09:00:00.000,0.0021,900,100,qwen/qwen3-32b,DeepInfra\n"
    "gen-2,2026-11-02 09:07:00.000,0.0004,300,200,qwen/qwen3-8b,Together\n"
)
DAYS = (
    "date,model,model_permaslug,provider_name,usage,requests,prompt_tokens,completion_tokens\n"
    "2026-11-02,Qwen3 32B,qwen/qwen3-32b,DeepInfra,0.5,12,4000,600\n"
)
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


def test_openrouter_by_generation(tmp_path: Path) -> None:
    bill = bills.read(written(tmp_path / "activity.csv", GENERATIONS))
    assert bill.report.billed_usd == Decimal("0.0025")
    rows = bill.groups.sort("model").select("model", "kind", "purchase", "quantity", "provider").rows()
    assert rows == [
        ("qwen/qwen3-32b", "tokens", "tokens", 1000.0, "openrouter"),
        ("qwen/qwen3-8b", "tokens", "tokens", 500.0, "openrouter"),
    ]


def test_openrouter_by_day(tmp_path: Path) -> None:
    bill = bills.read(written(tmp_path / "activity.csv", DAYS))
    assert (bill.report.billed_usd, bill.groups["quantity"].to_list()) == (Decimal("0.5"), [4600.0])


def test_copied_generation_is_counted_once(tmp_path: Path) -> None:
    twice = GENERATIONS + GENERATIONS.splitlines()[1] + "\n"
    assert bills.read(written(tmp_path / "activity.csv", twice)).report.billed_usd == Decimal("0.0025")


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


def test_unknown_bill_suggests_columns(tmp_path: Path) -> None:
    with pytest.raises(
        BillError, match="name its columns, --columns start=Date,cost=Amount,instance=Product,hours=Hours"
    ):
        bills.read(written(tmp_path / "invoice.csv", INVOICE))


def test_taxes_and_credits_by_their_names(tmp_path: Path) -> None:
    """As in the other formats a tax is no inference, and a negative amount is a credit."""
    rows = ["2026-10-01,8x H100 SXM,1200", "2026-10-01,8x H100 SXM,-200", "2026-10-31,Sales tax,90"]
    text = "\n".join(["Date,Item,Amount", *rows]) + "\n"
    bill = bills.read(
        written(tmp_path / "a.csv", text), columns={"start": "Date", "instance": "Item", "cost": "Amount"}
    )
    assert set(bill.groups.select("purchase", "kind").rows()) == {
        ("on_demand", "accelerator"),
        ("credit", "accelerator"),
        ("tax", None),
    }


def test_sign_of_a_currency_needs_its_rate(tmp_path: Path) -> None:
    """1.098,32 and 901,68 euro are 2,000, or 2,160 dollars at 1.08."""
    path = written(tmp_path / "bill.csv", "Datum;Posten;Betrag\n01.10.2026;H100;1.098,32 €\n02.10.2026;H100;901,68 €\n")
    named = {"start": "Datum", "instance": "Posten", "cost": "Betrag"}
    with pytest.raises(BillError, match=r"the bill is in EUR, not in USD; .*--rate EUR=RATE"):
        bills.read(path, columns=named)
    report = bills.read(path, columns=named, rates={"eur": Decimal("1.08")}).report
    assert report.billed_usd == pytest.approx(Decimal(2160))


def test_oci_cost_report_is_read(tmp_path: Path) -> None:
    text = (
        "lineItem/referenceNo,lineItem/intervalUsageStart,lineItem/intervalUsageEnd,product/service,product/Description,"
        "product/resourceId,usage/billedQuantity,cost/currencyCode,cost/myCost\n"
        "a,2026-10-01T00:00Z,2026-10-01T01:00Z,COMPUTE,GPU.H100 - GPU Hour,ocid1.x,8,USD,80.0\n"
        "b,2026-10-01T00:00Z,2026-10-01T01:00Z,BLOCK_STORAGE,Block Volume - Free,ocid1.y,1,USD,2.5\n"
    )
    bill = bills.read(written(tmp_path / "report.csv", text))
    assert bill.report.billed_usd == Decimal("82.5")
    assert bills.select_inference(bill.groups)["amortised_usd"].sum() == 80


def test_charges_of_a_model_are_tokens(tmp_path: Path) -> None:
    path = written(tmp_path / "usage.csv", "day,model,spent\n2026-10-01,qwen/qwen3-32b,1.5\n2026-10-02,,0.5\n")
    bill = bills.read(path, columns={"start": "day", "model": "model", "cost": "spent"})
    assert bill.groups.sort("billed_usd").select("kind", "model").rows() == [(None, None), ("tokens", "qwen/qwen3-32b")]


def test_statement_of_payments_is_warned_of(tmp_path: Path) -> None:
    path = written(tmp_path / "account.csv", "When,Amount\n2026-10-01,100\n2026-10-02,-25\n2026-10-03,-25\n")
    report = bills.read(path, columns={"start": "When", "cost": "Amount"}).report
    assert any("most rows are negative" in text for text in report.warnings)
