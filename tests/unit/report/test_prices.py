"""The price list as a table and as data."""

import io
import json

from rich.console import Console, RenderableType

from meritorder.catalog import Rejection, load
from meritorder.catalog.tokens import api_prices, token_prices
from meritorder.domain import PricingModel
from meritorder.report.prices import to_dict, to_table

CATALOG = load()


def text(renderable: RenderableType) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(renderable)
    return console.export_text()


def test_offers_show_price_date_and_source() -> None:
    shown = text(to_table(CATALOG.select_offers("h200", "aws", "us-east-1")))
    assert "p5en.48xlarge" in shown
    assert "$63.30" in shown
    assert "2026-07-28" in shown
    assert "https://pricing.us-east-1.amazonaws.com" in shown
    assert "spot (0.025 of machines interrupted per month)" in shown


def test_limit_states_the_rest() -> None:
    offers = CATALOG.select_offers("h100", pricing_model=PricingModel.ON_DEMAND)
    assert f"and {len(offers) - 3} more" in text(to_table(offers, limit=3))


def test_tokens_show_tiers_and_steps() -> None:
    shown = text(to_table((), api_prices("gemini-2.5-pro")))
    assert "batch" in shown
    assert "above 200,000 tokens" in shown


def test_rejected_rows_show_reasons() -> None:
    rejection = Rejection(what="acme big east (spot)", usd_per_hour=None, reason="spot saves nothing", source="test")
    assert "spot saves nothing" in text(to_table((), (), [rejection]))


def test_empty_list_is_stated() -> None:
    assert "no price matches these filters" in text(to_table(()))


def test_json_has_source_and_date() -> None:
    model = CATALOG.find_model("gpt-oss-20b")
    data = json.loads(json.dumps(to_dict(CATALOG.select_offers("b200"), token_prices(model), CATALOG.rejected)))
    assert data["schema"] == "meritorder.prices/1"
    assert all(row["source"] and row["as_of"] for row in (*data["offers"], *data["tokens"]))
    assert data["offers"][0]["usd_per_gpu_hour"] * data["offers"][0]["gpus"] == data["offers"][0]["usd_per_hour"]
    assert {row["tier"] for row in data["tokens"]} >= {"standard", "batch"}
