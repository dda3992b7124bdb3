"""Formats that are tables of columns."""

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


def read(path: Path, text: str, **named: str) -> bills.Bill:
    return bills.read(written(path, text), columns=named)


def inference_usd(bill: bills.Bill) -> Decimal:
    return Decimal(bill.groups.filter(bill.groups["kind"].is_not_null())["amortised_usd"].sum())


def test_cost_table_of_gcp(tmp_path: Path) -> None:
    """As downloaded: a preamble, a credit, and at the end a difference of rounding and the total, both without a date.

    800.003441 - 200 + 50 = 650.003441 of usage and credits, less 0.003441 of rounding, are the 650.00 of the invoice.
    """
    rows = (
        "Invoice number,123,\nCurrency,USD,\nTotal amount due,$650.00,\n"
        "Billing account ID,Project ID,Service description,SKU description,Credit type,Cost type,Usage start date,"
        "Usage end date,Usage amount,Usage unit,Unrounded Cost ($),Cost ($)\n"
        "0-1,p,Compute Engine,Nvidia H100 80GB GPU in Iowa,,Usage,2026-10-01,2026-10-31,10,hour,800.003441,800\n"
        "0-1,p,Compute Engine,Nvidia H100 80GB GPU in Iowa,PROMOTION,Usage,2026-10-01,2026-10-31,,,-200,-200\n"
        "0-1,p,Cloud Storage,Standard Storage,,Usage,2026-10-01,2026-10-31,1,gibibyte,50,50\n"
        ",,,,,Rounding error,,,,,-0.003441,-0.00\n,,,,,Total,,,,,650.000000,650.00\n"
    )
    bill = read(tmp_path / "costs.csv", rows)
    assert (bill.report.billed_usd, bill.report.refused_rows) == (Decimal(650), 0)
    assert inference_usd(bill) == Decimal("600.003441")


def test_dollars_of_azure_beside_euros(tmp_path: Path) -> None:
    rows = "2026-10-01,Azure OpenAI,110,100,EUR\n2026-10-01,Storage,11,10,EUR\n"
    bill = read(tmp_path / "a.csv", f"UsageDate,ServiceName,CostUSD,Cost,Currency\n{rows}")
    assert (bill.report.billed_usd, inference_usd(bill)) == (Decimal(121), Decimal(110))


def test_bill_of_alibaba(tmp_path: Path) -> None:
    """What is due after discounts, 800 + 45 - 10 of inference; the gross amounts are no charges."""
    text = (
        "BillingCycle,ProductName,ProductDetail,UsageStartTime,InstanceID,InstanceSpec,PretaxGrossAmount,PretaxAmount,"
        "Currency\n"
        "2026-10,Elastic Compute Service,ECS,2026-10-01 00:00:00,i-1,ecs.gn7e-c16g1.16xlarge,900,800,USD\n"
        "2026-10,Model Studio,Inference,2026-10-01 00:00:00,qwen-plus;input,,50,45,USD\n"
        "2026-10,Object Storage Service,OSS,2026-10-01 00:00:00,oss-1,,20,20,USD\n"
        "2026-10,Elastic Compute Service,ECS,2026-10-02 00:00:00,i-1,ecs.gn7e-c16g1.16xlarge,-10,-10,USD\n"
    )
    bill = read(tmp_path / "a.csv", text)
    assert (bill.report.billed_usd, inference_usd(bill)) == (Decimal(855), Decimal(835))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Day,Net (EUR)", "2026-10-01,5"),
        ("Day,net_eur", "2026-10-01,5"),
        ("Day,Net (€)", "2026-10-01,5"),
        ("Day,Net,Currency", "2026-10-01,5,EUR"),
        ("Day,Net,Billing Currency Code", "2026-10-01,5,eur"),
        ("Day,Net", "2026-10-01,€5"),
    ],
)
def test_currency_that_nobody_named(tmp_path: Path, header: str, row: str) -> None:
    """Euros are never taken as dollars, whether a column, its name or the amounts say so."""
    with pytest.raises(BillError, match="the bill is in EUR, not in USD"):
        read(tmp_path / "a.csv", f"{header}\n{row}\n", start="Day", cost=header.split(",")[1])


def test_tax_without_a_date(tmp_path: Path) -> None:
    """A tax of the whole invoice has no date; a total has none either, and is no charge."""
    text = "Day,Item,Amount\n2026-10-01,gpu_8x_h100_sxm5,100\n,VAT (8 %),8\n,Promotional credit,-20\n,Total due,88\n"
    bill = read(tmp_path / "a.csv", text, start="Day", cost="Amount", description="Item")
    assert dict(bill.groups.select("purchase", "billed_usd").rows()) == {
        "on_demand": Decimal(100),
        "tax": Decimal(8),
        "credit": Decimal(-20),
    }


def test_provider_as_people_write_it(tmp_path: Path) -> None:
    text = "Date,Provider,Service,Cost\n2026-10-01,OpenAI,GPT-4o,20\n2026-10-01,Amazon Web Services,Amazon S3,1\n"
    bill = read(tmp_path / "a.csv", text, start="Date", cost="Cost", provider="Provider", service="Service")
    assert sorted(bill.groups["provider"]) == ["aws", "openai"]
    assert inference_usd(bill) == 20


@pytest.mark.parametrize(("name", "amount"), [("cost_cents", "750"), ("costMicros", "7500000"), ("Cost", "7.50")])
def test_parts_of_a_dollar(tmp_path: Path, name: str, amount: str) -> None:
    """A bill that counts cents is not a hundred times as expensive."""
    bill = read(tmp_path / "a.csv", f"Day,{name}\n2026-10-01,{amount}\n", start="Day", cost=name)
    assert bill.report.billed_usd == Decimal("7.5")


def test_invoice_of_digitalocean(tmp_path: Path) -> None:
    """Two days of a GPU machine; the database is no inference, and the tax is of the whole invoice."""
    period = "2026-10-01 00:00:00 +0000,2026-10-03 00:00:00 +0000"
    text = (
        "product,group_description,description,hours,start,end,USD,project_name,category\n"
        f"GPU Droplets,,chat (gpu-h100x1-80gb),48,{period},$162.72,chat,iaas\n"
        f"Managed Databases,,orders,48,{period},$4.80,shop,paas\nTaxes,,VAT,,{period},$33.50,,\n"
    )
    bill = bills.read(written(tmp_path / "invoice.csv", text))
    assert (bill.report.billed_usd, inference_usd(bill)) == (Decimal("201.02"), Decimal("162.72"))
    assert bill.groups.filter(kind="accelerator")["quantity"].to_list() == [48.0]


def test_usage_of_snowflake(tmp_path: Path) -> None:
    text = (
        "ORGANIZATION_NAME,ACCOUNT_NAME,REGION,USAGE_DATE,USAGE_TYPE,CURRENCY,USAGE,USAGE_IN_CURRENCY,BILLING_TYPE,"
        "RATING_TYPE,SERVICE_TYPE\n"
        "O,A,AWS_US_EAST_1,2026-10-01,compute,EUR,10,30.00,consumption,compute,WAREHOUSE_METERING\n"
        "O,A,AWS_US_EAST_1,2026-10-01,ai services,EUR,5,12.50,consumption,ai compute,AI_SERVICES\n"
    )
    bill = bills.read(written(tmp_path / "usage.csv", text), rates={"EUR": Decimal("1.2")})
    assert (bill.report.billed_usd, inference_usd(bill)) == (Decimal(51), Decimal(15))
