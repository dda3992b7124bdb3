"""Usage without amounts, at list prices."""

import json
from pathlib import Path

import pytest

from meritorder import bills
from meritorder.catalog.tokens import api_prices
from meritorder.domain import Tier
from meritorder.records.findings import Audit
from meritorder.study.audit.answer import audit

HEADER = (
    "start_time,end_time,project_id,model,batch,service_tier,"
    "input_tokens,output_tokens,input_cached_tokens,num_model_requests"
)
DAY = "1790812800,1790899200,p"


def usage(path: Path, *rows: str) -> Path:
    path.write_text("\n".join([HEADER, *(f"{DAY},{row}" for row in rows)]) + "\n")
    return path


def audited(*paths: Path) -> Audit:
    return audit(bills.read(paths))


def test_usage_is_priced_at_list(tmp_path: Path) -> None:
    """3 M prompt tokens, 2 M of them cached, and 0.5 M generated; half of the price for the same in batch."""
    rows = [f"gpt-5-mini,{batch},default,3000000,500000,2000000,700" for batch in ("false", "true")]
    answer = audited(usage(tmp_path / "usage.csv", *rows))
    prices = {price.tier: price for price in api_prices("openai/gpt-5-mini")}
    expected = sum(
        prices[tier].input_usd_per_mtok + 2 * prices[tier].cached_usd_per_mtok + 0.5 * prices[tier].output_usd_per_mtok
        for tier in (Tier.STANDARD, Tier.BATCH)
    )
    assert float(answer.inference_usd) == pytest.approx(expected)
    assert sum(spend.usd for spend in answer.breakdowns[0].spends) == answer.inference_usd
    assert answer.total_usd == 0
    assert "at list prices" in answer.sentence
    assert {price.pricing_model for price in answer.prices} == {"token API, standard", "token API, batch"}
    texts = [assumed.text for assumed in answer.assumptions]
    assert any("2,000,000 cached input and 1,000,000 input and 500,000 output tokens" in text for text in texts)


def test_models_without_price_are_named(tmp_path: Path) -> None:
    answer = audited(
        usage(tmp_path / "usage.csv", "house-model-7,false,default,100,50,0,4", "gpt-image-9,false,,,,,31")
    )
    assert "counts usage without prices" in answer.sentence
    texts = [assumed.text for assumed in answer.assumptions]
    assert any(text.startswith("31 requests of gpt-image-9 have no prices") for text in texts)
    assert any(text.startswith("100 input tokens of house-model-7 have no prices") for text in texts)


def test_usage_beside_its_costs_is_not_priced(tmp_path: Path) -> None:
    """What the provider charges for the same usage is in the bill."""
    amount = {"amount": {"value": 7.0, "currency": "usd"}, "line_item": "gpt-5-mini, input", "project_id": "p"}
    bucket = {"start_time": 1790812800, "end_time": 1790899200, "results": [amount]}
    costs = tmp_path / "costs.json"
    costs.write_text(json.dumps({"object": "page", "data": [bucket]}))
    answer = audited(usage(tmp_path / "usage.csv", "gpt-5-mini,false,default,3000000,500000,0,9"), costs)
    assert answer.inference_usd == 7
    assert not answer.prices
