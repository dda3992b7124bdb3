"""Pages of cost APIs as records."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meritorder import bills
from meritorder.errors import BillError

PERIOD = {"Start": "2026-09-01", "End": "2026-10-01"}


def group(*keys: str, usd: str, hours: str = "0") -> dict[str, Any]:
    metrics = {"UnblendedCost": {"Amount": usd, "Unit": "USD"}, "UsageQuantity": {"Amount": hours, "Unit": "N/A"}}
    return {"Keys": list(keys), "Metrics": metrics}


def read(path: Path, *results: dict[str, Any], by: tuple[str, ...] = (), **page: str) -> bills.Bill:
    definitions = [{"Type": "DIMENSION", "Key": key} for key in by]
    path.write_text(json.dumps({"GroupDefinitions": definitions, "ResultsByTime": results, **page}, indent=4))
    return bills.read(path)


def test_cost_explorer_by_usage_type(tmp_path: Path) -> None:
    """10 hours of a p5 at $55.04 and a model are inference; storage and tax are not."""
    groups = [
        group("Amazon Elastic Compute Cloud - Compute", "BoxUsage:p5.48xlarge", usd="550.4", hours="10"),
        group("Amazon Bedrock", "USE1-Claude4.5Sonnet-input-tokens", usd="100.5"),
        group("Amazon Simple Storage Service", "TimedStorage-ByteHrs", usd="12.3456"),
        group("Tax", "NoUsageType", usd="3"),
    ]
    result = {"TimePeriod": PERIOD, "Total": {}, "Groups": groups, "Estimated": False}
    bill = read(tmp_path / "ce.json", result, by=("SERVICE", "USAGE_TYPE"))
    assert bill.report.billed_usd == Decimal("666.2456")
    inference = bill.groups.filter(bill.groups["kind"].is_not_null())
    assert dict(inference.select("kind", "amortised_usd").rows()) == {
        "accelerator": Decimal("550.4"),
        "tokens": Decimal("100.5"),
    }
    assert bill.groups.filter(bill.groups["kind"] == "accelerator").select("unit", "quantity").rows() == [("Hrs", 10.0)]
    assert "tax" in bill.groups["purchase"].to_list()


def test_cost_explorer_without_groups(tmp_path: Path) -> None:
    total = {"UnblendedCost": {"Amount": "12.5", "Unit": "USD"}}
    result = {"TimePeriod": PERIOD, "Total": total, "Groups": [], "Estimated": True}
    later = result | {"TimePeriod": {"Start": "2026-10-01", "End": "2026-11-01"}}
    assert read(tmp_path / "ce.json", result, later).report.billed_usd == Decimal(25)


@pytest.mark.parametrize(("token", "warned"), [({}, False), ({"NextPageToken": "abc"}, True)])
def test_further_pages_of_cost_explorer(tmp_path: Path, token: dict[str, str], *, warned: bool) -> None:
    result = {"TimePeriod": PERIOD, "Total": {"UnblendedCost": {"Amount": "1", "Unit": "USD"}}, "Groups": []}
    warnings = read(tmp_path / "ce.json", result, **token).report.warnings
    assert any("further pages are missing" in warning for warning in warnings) == warned


@pytest.mark.parametrize("result", [{"TimePeriod": PERIOD, "Groups": ["p5"]}, {"TimePeriod": {"Start": "x"}}])
def test_damaged_answer_is_one_line(tmp_path: Path, result: dict[str, Any]) -> None:
    with pytest.raises(BillError, match="no answer of AWS Cost Explorer: "):
        read(tmp_path / "ce.json", result)


@pytest.mark.parametrize("before", ["", '{"ResultsByTime": []}\n'])
def test_deeply_nested_answer_is_one_line(tmp_path: Path, before: str) -> None:
    """As the only page, and as a second one."""
    path = tmp_path / "ce.json"
    path.write_text(before + '{"ResultsByTime": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(BillError, match="nested too deeply"):
        bills.read(path)


def test_absent_record_types_are_not_missing(tmp_path: Path) -> None:
    """Cost Explorer has no record types unless it is asked for them."""
    result = {"TimePeriod": PERIOD, "Total": {"UnblendedCost": {"Amount": "1", "Unit": "USD"}}, "Groups": []}
    assert "record_type" not in read(tmp_path / "ce.json", result).report.files[0].missing
