"""Synthetic bills: an AWS CUR of any hours of machines, commitments and tokens."""

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

START = dt.datetime(2026, 10, 5, tzinfo=dt.UTC)  # a Monday
END = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)

Row = dict[str, str | None]

_COLUMNS = (
    "bill_billing_period_start_date", "bill_billing_period_end_date", "bill_payer_account_id",
    "line_item_usage_account_id", "line_item_line_item_type", "line_item_product_code", "line_item_usage_type",
    "line_item_resource_id", "line_item_usage_start_date", "line_item_usage_end_date", "line_item_usage_amount",
    "line_item_currency_code", "line_item_unblended_cost", "pricing_public_on_demand_cost", "pricing_term",
    "pricing_unit", "product_instance_type", "product_region_code", "reservation_reservation_a_r_n",
    "reservation_effective_cost", "reservation_unused_recurring_fee",
    "reservation_unused_amortized_upfront_fee_for_billing_period", "savings_plan_savings_plan_a_r_n",
    "savings_plan_savings_plan_effective_cost", "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment", "resource_tags", "line_item_operation", "line_item_line_item_description",
    "identity_line_item_id", "identity_time_interval", "bill_invoice_id",
)  # fmt: skip


def line(kind: str, hour: int, usd: float, *, tags: dict[str, str] | None = None, **more: object) -> Row:
    """Return a line item of one hour after `START`."""
    start = START + dt.timedelta(hours=hour)
    return {
        "bill_billing_period_start_date": f"{start:%Y-%m}-01T00:00:00Z",
        "bill_billing_period_end_date": END.isoformat(),
        "bill_payer_account_id": "111122223333",
        "line_item_line_item_type": kind,
        "line_item_product_code": "AmazonEC2",
        "line_item_usage_start_date": start.isoformat(),
        "line_item_usage_end_date": (start + dt.timedelta(hours=1)).isoformat(),
        "line_item_currency_code": "USD",
        "line_item_unblended_cost": f"{usd:.10f}",
        "resource_tags": json.dumps(tags or {}),
        **{name: str(value) for name, value in more.items()},
    }


def machine(
    hours: Iterable[int],
    *,
    instance: str = "p5.48xlarge",
    usd: float = 55.04,
    region: str = "us-east-1",
    name: str = "i-1",
    count: float = 1,
    tags: dict[str, str] | None = None,
    spot: bool = False,
    list_usd: float | None = None,
) -> Iterator[Row]:
    """Yield on-demand or spot hours of a machine."""
    for hour in hours:
        yield line(
            "Usage",
            hour,
            usd * count,
            tags=tags,
            line_item_usage_type=f"{'SpotUsage' if spot else 'BoxUsage'}:{instance}",
            line_item_resource_id=name,
            line_item_usage_amount=count,
            pricing_public_on_demand_cost=(usd if list_usd is None else list_usd) * count,
            pricing_term="Spot" if spot else "OnDemand",
            pricing_unit="Hrs",
            product_instance_type=instance,
            product_region_code=region,
        )


def reservation(
    used: Iterable[int], hours: int, *, instance: str, rate: float, listed: float, name: str = "ri-1"
) -> Iterator[Row]:
    """Yield a reservation without upfront payment: the hours in which it is used, and the fee for all of them."""
    arn = f"arn:aws:ec2:us-east-1:1:reserved-instances/{name}"
    used_hours = list(used)
    machine = {"product_instance_type": instance, "product_region_code": "us-east-1", "pricing_unit": "Hrs"}
    for hour in used_hours:
        yield line(
            "DiscountedUsage",
            hour,
            0.0,
            line_item_usage_type=f"BoxUsage:{instance}",
            line_item_usage_amount=1,
            pricing_public_on_demand_cost=listed,
            reservation_effective_cost=rate,
            reservation_reservation_a_r_n=arn,
            **machine,
        )
    yield line(
        "RIFee",
        0,
        rate * hours,
        line_item_usage_type=f"HeavyUsage:{instance}",
        reservation_reservation_a_r_n=arn,
        reservation_unused_recurring_fee=rate * (hours - len(used_hours)),
        reservation_unused_amortized_upfront_fee_for_billing_period=0,
        **machine,
    )


def savings_plan(
    used: Iterable[int],
    hours: int,
    *,
    commitment: float,
    rate: float,
    listed: float,
    count: float = 1,
    instance: str = "p5.48xlarge",
    name: str = "sp-1",
) -> Iterator[Row]:
    """Yield a savings plan without upfront payment: covered hours at `rate`, their negation, and the hourly fee."""
    arn = f"arn:aws:savingsplans::1:savingsplan/{name}"
    used_hours = set(used)
    for hour in sorted(used_hours):
        yield line(
            "SavingsPlanCoveredUsage",
            hour,
            listed * count,
            line_item_usage_type=f"BoxUsage:{instance}",
            line_item_usage_amount=count,
            line_item_resource_id=f"i-{name}",
            pricing_public_on_demand_cost=listed * count,
            pricing_unit="Hrs",
            product_instance_type=instance,
            product_region_code="us-east-1",
            savings_plan_savings_plan_effective_cost=rate * count,
            savings_plan_savings_plan_a_r_n=arn,
        )
        yield line("SavingsPlanNegation", hour, -listed * count, savings_plan_savings_plan_a_r_n=arn)
    for hour in range(hours):
        yield line(
            "SavingsPlanRecurringFee",
            hour,
            commitment,
            line_item_usage_type="ComputeSP:1yrNoUpfront",
            savings_plan_total_commitment_to_date=commitment,
            savings_plan_used_commitment=rate * count if hour in used_hours else 0,
            savings_plan_savings_plan_a_r_n=arn,
        )


def tokens(
    hours: Iterable[int],
    *,
    usd: float,
    thousands: float,
    kind: str = "input",
    batch: bool = False,
    tags: dict[str, str] | None = None,
) -> Iterator[Row]:
    """Yield tokens of Claude on Bedrock."""
    suffix = "-batch" if batch else ""
    for hour in hours:
        yield line(
            "Usage",
            hour,
            usd,
            tags=tags,
            line_item_product_code="AmazonBedrock",
            line_item_usage_type=f"USE1-Claude4.5Sonnet-{kind}-tokens{suffix}",
            line_item_usage_amount=thousands,
            pricing_public_on_demand_cost=usd,
            pricing_unit="1K tokens",
            product_region_code="us-east-1",
        )


def traffic(hours: Iterable[int], *, name: str) -> Iterator[Row]:
    """Yield the data that passes through a SageMaker endpoint."""
    for hour in hours:
        yield line(
            "Usage",
            hour,
            0.001,
            line_item_product_code="AmazonSageMaker",
            line_item_usage_type="USE1-Hst:Data-Bytes-Out",
            line_item_operation="Invoke-Endpoint",
            line_item_resource_id=name,
            line_item_usage_amount=0.1,
            pricing_unit="GB",
            product_region_code="us-east-1",
        )


def endpoint(hours: Iterable[int], *, name: str, usd: float = 1.5) -> Iterator[Row]:
    """Yield on-demand hours of a SageMaker endpoint."""
    for hour in hours:
        yield line(
            "Usage",
            hour,
            usd,
            line_item_product_code="AmazonSageMaker",
            line_item_usage_type="USE1-Host:ml.g5.2xlarge",
            line_item_operation="RunInstance",
            line_item_resource_id=name,
            line_item_usage_amount=1,
            pricing_public_on_demand_cost=usd,
            pricing_unit="Hrs",
            product_instance_type="ml.g5.2xlarge",
            product_region_code="us-east-1",
        )


def write(path: Path, rows: Iterable[Row]) -> Path:
    """Write a CUR 2.0 as CSV, each line with its own identity."""
    full = [
        row | {"identity_line_item_id": f"line-{number}", "identity_time_interval": row["line_item_usage_start_date"]}
        for number, row in enumerate(rows)
    ]
    pl.DataFrame(full, schema=dict.fromkeys(_COLUMNS, pl.String)).write_csv(path)
    return path
