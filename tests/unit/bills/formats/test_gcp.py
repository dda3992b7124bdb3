"""GCP's billing export to BigQuery."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from meritorder import bills
from meritorder.bills import Bill

ROW: dict[str, Any] = {
    "billing_account_id": "01-23",
    "service": {"id": "6F81", "description": "Compute Engine"},
    "sku": {"id": "A", "description": "A3 Mega Nvidia H100 Mega 80GB GPU running in Iowa"},
    "usage_start_time": "2026-10-07T05:00:00Z",
    "usage_end_time": "2026-10-07T06:00:00Z",
    "project": {"id": "chat-prod"},
    "labels": [{"key": "team", "value": "chat"}],
    "location": {"region": "us-central1"},
    "invoice": {"month": "202610"},
    "cost": 72.5,
    "cost_type": "regular",
    "currency": "USD",
    "credits": [],
    "usage": {"amount": 28800, "unit": "seconds"},
}
SUSTAINED = {"name": "Sustained Usage Discount", "type": "SUSTAINED_USAGE_DISCOUNT", "amount": -7.25}
COMMITTED = {"name": "Committed Usage Discount: CPU", "type": "COMMITTED_USAGE_DISCOUNT", "amount": -72.5}
PROMOTION = {"name": "Startup credit", "type": "PROMOTION", "amount": -5.0}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    full = [ROW | row for row in rows]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in full))
    elif path.suffix == ".parquet":
        pl.DataFrame(full).write_parquet(path)
    else:
        texts = [
            {key: json.dumps(v) if isinstance(v, dict | list) else str(v) for key, v in row.items()} for row in full
        ]
        pl.DataFrame(texts).write_csv(path)
    return path


def by_purchase(bill: Bill) -> dict[str, Decimal]:
    return dict(bill.groups.group_by("purchase").agg(pl.col("billed_usd").sum()).rows())


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_credits_are_rows_of_their_own(tmp_path: Path, suffix: str) -> None:
    bill = bills.read(written(tmp_path / f"export.{suffix}", {"credits": [SUSTAINED, PROMOTION]}, {}))
    assert by_purchase(bill) == {"on_demand": 145, "discount": Decimal("-7.25"), "credit": -5}
    usage = bill.groups.filter(pl.col("purchase") == "on_demand").to_dicts()[0]
    assert (usage["quantity"], usage["unit"], usage["kind"]) == (16.0, "hour", "accelerator")
    assert (usage["region"], usage["account"], usage["list_usd"]) == ("us-central1", "chat-prod", 145)
    assert bill.groups.select(bills.tag("team"))["tags"].to_list() == ["chat"] * 3
    assert bill.report.invoices[0].month == "2026-10"


def test_credit_of_a_commitment_is_its_discount(tmp_path: Path) -> None:
    """What a commitment covers costs nothing itself; the commitment has its own fee."""
    fee = {"sku": {"id": "C", "description": "Commitment v1: A3 GPU in Iowa for 1 year"}, "cost": 40, "credits": []}
    bill = bills.read(written(tmp_path / "export.jsonl", {"credits": [COMMITTED]}, fee))
    assert by_purchase(bill) == {"committed_use": 40}
    assert bill.groups["list_usd"].sum() == Decimal("72.5")


def test_taxes_and_spot_by_their_own_words(tmp_path: Path) -> None:
    tax = {"cost_type": "tax", "cost": 9, "sku": {"id": "T", "description": "Tax"}}
    spot = {"sku": {"id": "S", "description": "Spot Preemptible A3 H100 80GB GPU running in Iowa"}, "cost": 20}
    assert by_purchase(bills.read(written(tmp_path / "export.jsonl", tax, spot))) == {"tax": 9, "spot": 20}


def test_rate_of_the_export_gives_dollars(tmp_path: Path) -> None:
    """72.50 euros at 0.8 euros a dollar, less a discount of 7.25 euros."""
    euro = {"currency": "EUR", "currency_conversion_rate": 0.8, "credits": [SUSTAINED]}
    report = bills.read(written(tmp_path / "export.jsonl", euro)).report
    assert (report.billed_usd, report.currencies) == (Decimal("81.5625"), ("USD",))


def test_flat_columns_of_a_query(tmp_path: Path) -> None:
    flat = {
        "billing_account_id": "01-23",
        "service.description": "Vertex AI",
        "sku_description": "Gemini 2.5 Flash Text Input - Predictions",
        "usage_start_time": "2026-10-07 05:00:00 UTC",
        "usage_end_time": "2026-10-07 06:00:00 UTC",
        "cost": "3.5",
        "currency": "USD",
    }
    path = tmp_path / "query.csv"
    pl.DataFrame([flat]).write_csv(path)
    (group,) = bills.read(path).groups.to_dicts()
    assert (group["billed_usd"], group["kind"], group["service"]) == (Decimal("3.5"), "tokens", "Vertex AI")
