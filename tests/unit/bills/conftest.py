"""Small literal bills, written to a temporary folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl
import pytest

CUR = {
    "identity_line_item_id": None,
    "identity_time_interval": "2026-10-01T00:00:00Z/2026-10-01T01:00:00Z",
    "bill_billing_period_start_date": "2026-10-01T00:00:00Z",
    "bill_billing_period_end_date": "2026-11-01T00:00:00Z",
    "bill_payer_account_id": "111122223333",
    "bill_invoice_id": "INV-1",
    "line_item_usage_account_id": "444455556666",
    "line_item_line_item_type": "Usage",
    "line_item_product_code": "AmazonEC2",
    "line_item_usage_type": "BoxUsage:p5.48xlarge",
    "line_item_operation": "RunInstances",
    "line_item_resource_id": "i-1",
    "line_item_usage_start_date": "2026-10-01T00:00:00Z",
    "line_item_usage_end_date": "2026-10-01T01:00:00Z",
    "line_item_usage_amount": "1",
    "line_item_currency_code": "USD",
    "line_item_unblended_cost": "0",
    "line_item_line_item_description": None,
    "pricing_public_on_demand_cost": "0",
    "pricing_term": "OnDemand",
    "pricing_unit": "Hrs",
    "product_instance_type": "p5.48xlarge",
    "product_region_code": "us-east-1",
    "reservation_reservation_a_r_n": None,
    "reservation_effective_cost": None,
    "reservation_unused_recurring_fee": None,
    "reservation_unused_amortized_upfront_fee_for_billing_period": None,
    "savings_plan_savings_plan_a_r_n": None,
    "savings_plan_savings_plan_effective_cost": None,
    "savings_plan_total_commitment_to_date": None,
    "savings_plan_used_commitment": None,
    "resource_tags": '{"team": "llm"}',
}

FOCUS = {
    "BilledCost": "0",
    "EffectiveCost": "0",
    "ListCost": "0",
    "BillingAccountId": "payer",
    "SubAccountId": "account",
    "BillingCurrency": "USD",
    "BillingPeriodStart": "2026-10-01T00:00:00Z",
    "BillingPeriodEnd": "2026-11-01T00:00:00Z",
    "ChargePeriodStart": "2026-10-01T00:00:00Z",
    "ChargePeriodEnd": "2026-10-01T01:00:00Z",
    "ChargeCategory": "Usage",
    "ChargeClass": None,
    "ChargeDescription": None,
    "ProviderName": "AWS",
    "ServiceName": "AmazonEC2",
    "ResourceId": "i-1",
    "SkuId": "p5.48xlarge",
    "PricingCategory": "Standard",
    "ConsumedQuantity": "1",
    "ConsumedUnit": "Hours",
    "CommitmentDiscountId": None,
    "CommitmentDiscountStatus": None,
    "CommitmentDiscountType": None,
    "CommitmentDiscountCategory": None,
    "RegionId": "us-east-1",
    "Tags": None,
}

Row = Mapping[str, str | None]


@pytest.fixture
def cur(tmp_path: Path) -> Callable[..., Path]:
    """Write a CUR 2.0 as CSV, from the fields in which its rows differ from an hour of a p5."""

    def write(*rows: Row, name: str = "cur.csv", without: Sequence[str] = ()) -> Path:
        full = [CUR | {"identity_line_item_id": f"line-{i}"} | dict(row) for i, row in enumerate(rows)]
        path = tmp_path / name
        pl.DataFrame(full, schema=dict.fromkeys(CUR, pl.String)).drop(without).write_csv(path)
        return path

    return write


@pytest.fixture
def focus(tmp_path: Path) -> Callable[..., Path]:
    """Write a FOCUS dataset as CSV, from the fields in which its rows differ from an hour of a p5."""

    def write(*rows: Row, name: str = "focus.csv", rename: Mapping[str, str] | None = None) -> Path:
        full = [FOCUS | {"ResourceId": f"i-{i}"} | dict(row) for i, row in enumerate(rows)]
        path = tmp_path / name
        columns = dict.fromkeys({name: None for row in full for name in row}, pl.String)
        pl.DataFrame(full, schema=columns).rename(rename or {}).write_csv(path)
        return path

    return write
