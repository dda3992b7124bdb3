"""Exports of the token APIs, as CSV and as pages of JSON."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from meritorder import bills
from meritorder.bills.formats.tokens import unpivot_token_types
from meritorder.errors import BillError


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def bucket(results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "bucket", "start_time": 1790812800, "end_time": 1790899200, "results": results}


def test_openai_costs_as_json(tmp_path: Path) -> None:
    page = """{"object": "page", "has_more": false, "data": [{"object": "bucket", "start_time": 1790812800,
        "end_time": 1790899200, "results": [
        {"object": "organization.costs.result", "amount": {"value": 0.1234567890123, "currency": "usd"},
            "line_item": "gpt-4o-2024-08-06, input", "project_id": "proj_a"},
        {"object": "organization.costs.result", "amount": {"value": 0.5, "currency": "usd"},
            "line_item": "gpt-4o-2024-08-06 batch, output", "project_id": "proj_b"}]}]}"""
    bill = bills.read(write(tmp_path / "costs.json", page))
    rows = bill.charges.sort("row").collect()
    assert bill.report.billed_usd == Decimal("0.623456789012")
    assert rows["kind"].to_list() == ["tokens", "tokens"]
    assert rows["model"].to_list() == ["gpt-4o-2024-08-06", "gpt-4o-2024-08-06"]
    assert rows["tier"].to_list() == ["standard", "batch"]
    assert rows["token_type"].to_list() == ["input", "output"]
    assert bills.sum_by(bill.groups, "tag:project")["tag:project"].to_list() == ["proj_b", "proj_a"]
    assert rows["period_start"].dt.strftime("%Y-%m-%d").to_list() == ["2026-10-01"] * 2


def test_openai_costs_with_empty_days(tmp_path: Path) -> None:
    text = (
        "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id\n"
        "1790812800,1790899200,2026-10-01T00:00:00+00:00,2026-10-02T00:00:00+00:00,0.34090000000000000,usd,,,org-1\n"
        "1790899200,1790985600,2026-10-02T00:00:00+00:00,2026-10-03T00:00:00+00:00,,,,,\n"
    )
    bill = bills.read(write(tmp_path / "cost.csv", text))
    assert (bill.report.rows, bill.report.refused_rows, bill.report.billed_usd) == (1, 0, Decimal("0.3409"))


def test_openai_usage_counts_tokens_once(tmp_path: Path) -> None:
    result = {
        "object": "organization.usage.completions.result",
        "input_tokens": 1000,
        "input_cached_tokens": 800,
        "output_tokens": 50,
        "num_model_requests": 5,
        "model": "gpt-4o",
        "batch": True,
    }
    bill = bills.read(write(tmp_path / "usage.json", {"data": [bucket([result])], "has_more": False}))
    counted = dict(bill.groups.select("token_type", "quantity").rows())
    assert counted == {"input": 200.0, "cached_input": 800.0, "output": 50.0}
    assert set(bill.groups["tier"]) == {"batch"}
    assert (bill.report.unpriced_rows, bill.report.billed_usd) == (3, 0)


def test_anthropic_costs_are_in_cents(tmp_path: Path) -> None:
    result = {
        "amount": "123.78912",
        "currency": "USD",
        "cost_type": "tokens",
        "model": "claude-sonnet-4-5",
        "service_tier": "batch",
        "token_type": "cache_read_input_tokens",
        "workspace_id": "w1",
        "description": "Claude Sonnet 4.5 Usage - Input Tokens, Cache Hit",
    }
    data = {"starting_at": "2026-10-01T00:00:00Z", "ending_at": "2026-10-02T00:00:00Z", "results": [result]}
    bill = bills.read(write(tmp_path / "cost.json", {"data": [data], "has_more": False, "next_page": None}))
    (row,) = bill.charges.collect().to_dicts()
    assert row["billed_usd"] == Decimal("1.2378912")
    assert (row["tier"], row["token_type"], row["model"]) == ("batch", "cached_input", "claude-sonnet-4-5")


def test_anthropic_console_exports(tmp_path: Path) -> None:
    costs = (
        "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type\n"
        "2026-10-01,Claude Haiku 4.5,Default,key,message,≤ 200k,input_no_cache,0.05,0.06,token\n"
        "2026-10-01,Claude Haiku 4.5,Default,key,batch,≤ 200k,output,0.02,0.02,token\n"
    )
    usage = (
        "usage_date_utc,model_version,api_key,workspace,usage_type,usage_input_tokens_no_cache,"
        "usage_input_tokens_cache_read,usage_output_tokens\n2026-10-01,claude-haiku-4-5,key,Default,standard,100,0,10\n"
    )
    bill = bills.read([write(tmp_path / "costs.csv", costs), write(tmp_path / "usage.csv", usage)])
    assert [file.title for file in bill.report.files] == ["Anthropic costs", "Anthropic usage"]
    assert bill.report.billed_usd == Decimal("0.07")
    assert bill.groups["list_usd"].sum() == Decimal("0.08")
    assert set(bill.groups.filter("priced")["tier"]) == {"standard", "batch"}


def test_litellm_spend_logs(tmp_path: Path) -> None:
    log = {
        "request_id": "r1",
        "call_type": "acompletion",
        "spend": 0.00012,
        "startTime": "2026-10-01T00:00:00.123000+00:00",
        "endTime": "2026-10-01T00:00:02+00:00",
        "model": "bedrock/anthropic.claude-sonnet-4-5",
        "model_group": "sonnet",
        "total_tokens": 120,
        "team_id": "search",
        "request_tags": ["nightly"],
        "metadata": {"user_api_key": "x"},
    }
    lines = "\n".join(json.dumps(log | {"request_id": name}) for name in ("r1", "r2", "r2"))
    bill = bills.read(write(tmp_path / "spend.jsonl", lines))
    assert (bill.report.rows, bill.report.duplicate_rows, bill.report.billed_usd) == (
        3,
        1,
        Decimal("0.00024"),
    )
    (row,) = bills.sum_by(bill.groups, "provider", "model", "tag:team", "kind").to_dicts()
    assert row["provider"] == "bedrock"
    assert (row["tag:team"], row["kind"]) == ("search", "tokens")


def test_missing_pages_warn(tmp_path: Path) -> None:
    result = {"amount": {"value": 1, "currency": "usd"}, "line_item": "gpt-4o, input"}
    first = write(tmp_path / "1.json", {"data": [bucket([result])], "has_more": True, "next_page": "page_2"})
    last = write(tmp_path / "2.json", {"data": [bucket([result | {"line_item": "gpt-4o, output"}])], "has_more": False})
    assert any("further pages" in warning for warning in bills.read(first).report.warnings)
    assert bills.read([first, last]).report.warnings == ()


def test_empty_page_has_no_charges(tmp_path: Path) -> None:
    with pytest.raises(BillError, match="there are no charges in it"):
        bills.read(write(tmp_path / "costs.json", {"object": "page", "data": [], "has_more": False}))


def test_charges_are_as_declared(tmp_path: Path) -> None:
    from meritorder.tables import CHARGES, check

    result = {"amount": {"value": 1, "currency": "usd"}, "line_item": "gpt-4o, input"}
    bill = bills.read(write(tmp_path / "1.json", {"data": [bucket([result])]}))
    assert isinstance(check(bill.charges.collect(), CHARGES, what="charges"), pl.DataFrame)


def test_only_tokens_used_are_rows() -> None:
    """Of 100 input tokens 40 were cached in one row, an unknown number in the next; zero and words are left out."""
    raw = pl.LazyFrame(
        {
            "row": [1, 2, 3],
            "input_tokens": ["100", "100", "n/a"],
            "input_cached_tokens": ["40", None, "0"],
            "output_tokens": ["1", "0", "0.5"],
        }
    )
    counted = unpivot_token_types(raw).sort("row", "token_type").collect()
    assert counted.select("row", "token_type", "tokens").rows() == [
        (1, "input_cached_tokens", 40.0),
        (1, "input_tokens", 60.0),
        (1, "output_tokens", 1.0),
        (2, "input_tokens", 100.0),
        (3, "output_tokens", 0.5),
    ]


def test_usage_costs_nothing(tmp_path: Path) -> None:
    """Usage has tokens and no dollars, and is named by what is known of it."""
    text = "usage_date_utc,usage_output_tokens,model_version\n2026-10-01,10,\n2026-10-02,10,m\n"
    groups = bills.read(write(tmp_path / "usage.csv", text)).groups
    assert (groups["billed_usd"].sum(), groups["amortised_usd"].sum()) == (0, 0)
    assert groups["sku"].sort().to_list() == ["m, usage_output_tokens", "usage_output_tokens"]


def test_costs_without_model_or_currency(tmp_path: Path) -> None:
    """Anthropic's console export is in dollars; a search has no model."""
    text = "usage_date_utc,model,cost_type,cost_usd\n2026-10-01,,web_search,0.05\n"
    (group,) = bills.read(write(tmp_path / "costs.csv", text)).groups.to_dicts()
    assert (group["currency"], group["sku"], group["list_usd"]) == ("USD", "web_search", Decimal("0.05"))
    euro = text.replace("cost_usd", "cost_usd,currency").replace("0.05", "0.05,EUR")
    with pytest.raises(BillError, match="in EUR"):
        bills.read(write(tmp_path / "euro.csv", euro))


def test_request_is_identified_by_its_id(tmp_path: Path) -> None:
    """The same request in two exports is counted once, even if one of them names its user."""
    log = {"request_id": "r", "spend": 1, "startTime": "2026-10-01T00:00:00Z", "model": "m", "user": ""}
    bill = bills.read(write(tmp_path / "log.json", [log, log | {"user": "ada"}]))
    assert (bill.report.duplicate_rows, bill.report.billed_usd) == (1, 1)
