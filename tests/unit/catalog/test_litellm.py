"""LiteLLM's price map as a catalog file."""

import json

import pytest
from tests.samples.catalog_files import Write

from meritorder.catalog import load
from meritorder.catalog.tokens import find_model_or_prices, token_prices
from meritorder.domain import Tier
from meritorder.errors import CatalogError

PRICES = {
    "sample_spec": {"input_cost_per_token": "dollars", "mode": "one of chat, embedding, ..."},
    "house-9b": {
        "litellm_provider": "acme",
        "mode": "chat",
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 2e-06,
        "input_cost_per_token_batches": 5e-07,
        "output_cost_per_token_batches": 1e-06,
        "cache_read_input_token_cost": 1e-07,
    },
    "acme/llama-3.1-8b": {"litellm_provider": "acme", "input_cost_per_token": 2e-08, "output_cost_per_token": 3e-08},
    "openai/gpt-4.1-mini": {
        "litellm_provider": "openai",
        "input_cost_per_token": 3e-07,
        "output_cost_per_token": 9e-07,
    },
    "house-embed": {"litellm_provider": "acme", "mode": "embedding", "input_cost_per_token": 1e-08},
}


def test_models_of_one_s_own_are_priced(write: Write) -> None:
    """A dollar a million tokens is 1e-06 a token."""
    catalog = load([write("prices.json", json.dumps(PRICES))])
    model, prices = find_model_or_prices(catalog, "house-9b")
    assert model is None
    assert [
        (price.provider, price.tier, price.input_usd_per_mtok, price.cached_usd_per_mtok, price.output_usd_per_mtok)
        for price in prices
    ] == [
        ("acme", Tier.BATCH, pytest.approx(0.5), pytest.approx(0.5), pytest.approx(1.0)),
        ("acme", Tier.STANDARD, pytest.approx(1.0), pytest.approx(0.1), pytest.approx(2.0)),
    ]
    assert find_model_or_prices(catalog, "acme/house-9b")[1] == prices


def test_own_prices_replace_listed_ones(write: Write) -> None:
    catalog = load([write("prices.json", json.dumps(PRICES))])
    _, prices = find_model_or_prices(catalog, "gpt-4.1-mini")
    standard = [price for price in prices if (price.provider, price.tier) == ("openai", Tier.STANDARD)]
    assert [price.input_usd_per_mtok for price in standard] == [pytest.approx(0.3)]
    assert any(price.provider == "openai" and price.tier is Tier.BATCH for price in prices)


def test_open_models_get_a_further_provider(write: Write) -> None:
    catalog = load([write("prices.json", json.dumps(PRICES))])
    model = catalog.find_model("llama-3.1-8b")
    prices = token_prices(model, own=catalog.tokens)
    assert [price.input_usd_per_mtok for price in prices if price.provider == "acme"] == [pytest.approx(0.02)]
    assert len(prices) == len(token_prices(model)) + 1


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"input_cost_per_token": -1e-06, "output_cost_per_token": 1e-06}, "numbers of dollars per token"),
        ({"input_cost_per_token": "free", "output_cost_per_token": 1e-06}, "numbers of dollars per token"),
        ({"input_cost_per_token": 1e-06, "mode": "embedding"}, "no model that generates text"),
    ],
)
def test_map_without_a_price_is_refused(write: Write, entry: dict[str, object], reason: str) -> None:
    with pytest.raises(CatalogError, match=reason):
        load([write("prices.json", json.dumps({"m": entry}))])
