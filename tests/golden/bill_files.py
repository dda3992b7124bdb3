"""The golden bill: one day of every purchase option, as an AWS CUR and as FOCUS, and the answer of its audit.

`python -m tests.golden.bill_files` writes the files again; do so only if the answer changed on purpose.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import polars as pl
import pytest
from tests.conftest import TODAY
from tests.samples.charges import Row, line, machine, reservation, savings_plan, tokens, write

from meritorder import bills
from meritorder.report.audit.record import encode
from meritorder.study.audit.answer import audit
from meritorder.study.audit.context import AuditOptions
from meritorder.study.prices import age

FOLDER = Path(__file__).parent / "files"
CUR, FOCUS, ANSWER = FOLDER / "bill_cur.csv", FOLDER / "bill_focus.csv", FOLDER / "audit.json"
DAY = 24
DEFERRABLE = {"latency_class": "deferrable"}
CHAT = {"service": "chat"}


def cur_rows() -> Iterator[Row]:
    """Yield the line items of the CUR."""
    bedrock = {"line_item_product_code": "AmazonBedrock"}
    return chain(
        machine(range(DAY), usd=55.04, tags=CHAT, name="i-chat"),
        machine(range(DAY), instance="g6e.12xlarge", usd=10.0, list_usd=10.5, tags=DEFERRABLE, name="i-etl"),
        machine(range(10), instance="g6e.12xlarge", usd=4.0, list_usd=10.5, tags=DEFERRABLE, spot=True, name="i-spot"),
        savings_plan(range(18), DAY, commitment=24.0, rate=41.28, listed=55.04, count=0.5),
        reservation(range(10), DAY, instance="g5.12xlarge", rate=3.5, listed=5.672),
        tokens(range(DAY), usd=3.0, thousands=1000, tags=DEFERRABLE),
        tokens(range(DAY), usd=1.2, thousands=1000, batch=True, tags=DEFERRABLE),
        tokens(range(DAY), usd=2.0, thousands=500, kind="output", tags={"latency_class": "interactive"}),
        [
            line("Fee", 0, 100.0, line_item_usage_type="USE1-CapacityBlock:p5.48xlarge"),
            line("EdpDiscount", 0, -20.0, line_item_usage_type="x-input-tokens", **bedrock),
            line("Refund", 3, -5.0, line_item_usage_type="BoxUsage:p5.48xlarge"),
            line("Usage", 0, 5.0, line_item_product_code="AmazonS3", line_item_usage_type="TimedStorage"),
            line("Tax", 0, 10.0),
        ],
    )


_CATEGORIES = {"Tax": "Tax", "Refund": "Credit", "EdpDiscount": "Credit", "Fee": "Purchase"}
_COMMITTED = ("SavingsPlanCoveredUsage", "SavingsPlanRecurringFee", "DiscountedUsage", "RIFee")
_UNUSED = ("SavingsPlanRecurringFee", "RIFee")


def focus_rows(row: Row) -> Iterator[Row]:
    """Yield a line item of the CUR as charges of FOCUS: fees of commitments are a purchase and an unused part."""
    kind, billed = str(row["line_item_line_item_type"]), str(row["line_item_unblended_cost"])
    if kind == "SavingsPlanNegation":
        return
    charge = {
        "ProviderName": "AWS",
        "BillingAccountId": row["bill_payer_account_id"],
        "BillingCurrency": "USD",
        "BillingPeriodStart": row["bill_billing_period_start_date"],
        "BillingPeriodEnd": row["bill_billing_period_end_date"],
        "ChargePeriodStart": row["line_item_usage_start_date"],
        "ChargePeriodEnd": row["line_item_usage_end_date"],
        "ChargeCategory": _CATEGORIES.get(kind, "Usage"),
        "ServiceName": row["line_item_product_code"],
        "SkuMeter": row.get("line_item_usage_type"),
        "x_SkuInstanceType": row.get("product_instance_type"),
        "ResourceId": row.get("line_item_resource_id"),
        "RegionId": row.get("product_region_code"),
        "PricingCategory": "Dynamic" if row.get("pricing_term") == "Spot" else "Standard",
        "ConsumedQuantity": row.get("line_item_usage_amount"),
        "ConsumedUnit": row.get("pricing_unit"),
        "BilledCost": billed,
        "EffectiveCost": billed,
        "ListCost": row.get("pricing_public_on_demand_cost"),
        "Tags": row["resource_tags"],
    }
    if kind not in _COMMITTED:
        yield charge
        return
    plan = kind.startswith("SavingsPlan")
    commitment = row.get("savings_plan_savings_plan_a_r_n") if plan else row.get("reservation_reservation_a_r_n")
    charge |= {
        "CommitmentDiscountId": commitment,
        "CommitmentDiscountType": "Savings Plan" if plan else "Reserved Instance",
    }
    used = {"PricingCategory": "Committed", "BilledCost": "0"}
    if kind in _UNUSED:
        yield charge | {"ChargeCategory": "Purchase", "EffectiveCost": "0"}
        yield charge | used | {"EffectiveCost": _unused_usd(row), "CommitmentDiscountStatus": "Unused"}
    else:
        effective = "savings_plan_savings_plan_effective_cost" if plan else "reservation_effective_cost"
        yield charge | used | {"EffectiveCost": row[effective], "CommitmentDiscountStatus": "Used"}


def _unused_usd(row: Row) -> str:
    if row["line_item_line_item_type"] == "RIFee":
        return str(row["reservation_unused_recurring_fee"])
    total, used = row["savings_plan_total_commitment_to_date"], row["savings_plan_used_commitment"]
    return f"{float(str(total)) - float(str(used)):.10f}"


def main() -> None:
    """Write the bills and the answer."""
    FOLDER.mkdir(exist_ok=True)
    write(CUR, cur_rows())
    charges = [charge for row in cur_rows() for charge in focus_rows(row)]
    names = dict.fromkeys(name for charge in charges for name in charge)
    pl.DataFrame(charges, schema=dict.fromkeys(names, pl.String)).write_csv(FOCUS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(age, "today", lambda: TODAY)
        ANSWER.write_bytes(encode(audit(bills.read(CUR), AuditOptions(bill=(CUR.name,)))))


if __name__ == "__main__":
    main()
