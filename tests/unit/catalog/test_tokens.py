"""Token prices: only this very model, only tiers that are there."""

import datetime as dt
import re
from pathlib import Path

import numpy as np
import pytest
from genai_prices import Usage, calc_price

from meritorder.catalog import genai, load
from meritorder.catalog.genai import price_list, snapshot_date
from meritorder.catalog.tokens import (
    api_prices,
    cost_usd,
    find_model_or_prices,
    rejected_prices,
    token_api,
    token_prices,
    turnaround_s,
)
from meritorder.domain import Model, Tier
from meritorder.errors import CatalogError
from meritorder.offers import LongPrompt, TokenPrice

CATALOG = load()


def price(**fields: object) -> TokenPrice:
    about = {
        "provider": "acme",
        "model": "m",
        "provider_model": "m",
        "tier": Tier.STANDARD,
        "input_usd_per_mtok": 2.0,
        "cached_usd_per_mtok": 0.5,
        "output_usd_per_mtok": 8.0,
        "as_of": "2026-01-01",
        "source": "test",
    }
    return TokenPrice(**about | fields)


def by_tier(prices: tuple[TokenPrice, ...]) -> dict[Tier, TokenPrice]:
    return {price.tier: price for price in prices}


def test_library_still_defaults_to_standard() -> None:
    usage, noon = Usage(input_tokens=1_000_000), dt.datetime(2026, 11, 9, 12, tzinfo=dt.UTC)
    about = {"provider_id": "together", "genai_request_timestamp": noon}
    standard = calc_price(usage, "openai/gpt-oss-120b", **about)
    batch = calc_price(usage, "openai/gpt-oss-120b", price_context={"processing": "batch"}, **about)
    assert batch.total_price == standard.total_price  # Together's list has no batch price here


def test_only_listed_tiers_are_returned() -> None:
    model = CATALOG.find_model("gpt-oss-120b")
    assert set(by_tier(token_prices(model, providers=["together"]))) == {Tier.STANDARD}
    groq = by_tier(token_prices(model, providers=["groq"]))
    assert set(groq) == {Tier.STANDARD, Tier.BATCH}
    assert groq[Tier.BATCH].input_usd_per_mtok == groq[Tier.STANDARD].input_usd_per_mtok / 2
    # Groq's discounts do not stack: a cached token costs as much in batch.
    assert groq[Tier.BATCH].cached_usd_per_mtok == groq[Tier.STANDARD].cached_usd_per_mtok


def test_openrouter_batch_endpoints_are_batch() -> None:
    prices = token_prices(CATALOG.find_model("gpt-oss-20b"), providers=["openrouter"])
    assert {(price.provider_model, price.tier) for price in prices} == {
        ("openai/gpt-oss-20b", Tier.STANDARD),
        ("openai/gpt-oss-20b:batch", Tier.BATCH),
    }


def test_tiers_and_providers_filter() -> None:
    model = CATALOG.find_model("gpt-oss-120b")
    assert {price.tier for price in token_prices(model, tiers=[Tier.BATCH])} == {Tier.BATCH}
    assert {price.provider for price in token_prices(model, providers=["aws", "groq"])} == {"aws", "groq"}


def test_models_without_price_are_small() -> None:
    unsold = {model.id for model in CATALOG.models.values() if not token_prices(model)}
    assert unsold == {"qwen3-vl-4b", "mimo-7b"}


@pytest.mark.parametrize(
    "model", [model for model in CATALOG.models.values() if token_prices(model)], ids=lambda model: model.id
)
def test_only_this_very_model(model: Model) -> None:
    """The size in the provider's name is the size of the model, and fine-tunes are left out."""
    size = model.id.split("-")[-1] if not model.id.startswith(("deepseek", "kimi", "qwen3-30b", "qwen3-235b")) else ""
    for price in token_prices(model):
        name = price.provider_model.lower()
        assert size in name
        assert not any(
            word in name for word in ("hermes", "hanami", "nemotron", "distill", "lumimaid", ":free", "guard")
        )
        assert 0 < price.input_usd_per_mtok < 10
        assert price.cached_usd_per_mtok <= price.input_usd_per_mtok
        assert price.source.startswith("http")


def test_versions_are_not_mixed() -> None:
    names = {price.provider_model.lower() for price in token_prices(CATALOG.find_model("llama-3.1-70b"))}
    assert names
    assert not any("3.3" in name or "3-3" in name for name in names)
    assert all("0528" not in price.provider_model for price in token_prices(CATALOG.find_model("deepseek-r1")))


def test_rejected_prices_have_reasons() -> None:
    reasons = {rejection.what: rejection.reason for rejection in rejected_prices(CATALOG.find_model("gpt-oss-120b"))}
    assert "free" in reasons["openrouter openai/gpt-oss-120b:free"]
    assert "not the provider's own" in reasons["openai gpt-oss-120b"]


def test_prices_have_the_lists_date() -> None:
    assert snapshot_date() >= dt.date(2026, 11, 9)
    prices = token_prices(CATALOG.find_model("qwen3-32b"), providers=["groq", "openrouter", "cerebras"])
    assert {price.as_of for price in prices} == {snapshot_date().isoformat()}


def test_missing_providers_and_tiers_are_listed() -> None:
    """Of 2026-11-20: Llama 3.3 70B at Bedrock $0.72 a million, half of it in batch; at DeepInfra $0.23 and $0.40."""
    model = CATALOG.find_model("llama-3.3-70b")
    bedrock = by_tier(token_prices(model, providers=["aws"]))
    assert bedrock[Tier.BATCH].input_usd_per_mtok == pytest.approx(bedrock[Tier.STANDARD].input_usd_per_mtok / 2)
    (deepinfra,) = (
        price
        for price in token_prices(model, providers=["deepinfra"])
        if price.provider_model == "meta-llama/Llama-3.3-70B-Instruct"
    )
    assert (deepinfra.input_usd_per_mtok, deepinfra.output_usd_per_mtok) == (0.23, 0.4)
    assert deepinfra.model == "llama-3.3-70b"
    assert {price.provider for price in token_prices(model)} >= {"vertex", "azure"}


def test_api_name_of_listed_provider_is_priced() -> None:
    (price,) = api_prices("deepinfra/Qwen/Qwen3-32B")
    assert (price.provider, price.tier) == ("deepinfra", Tier.STANDARD)
    with pytest.raises(CatalogError, match="no token price"):
        api_prices("deepinfra/none-such")


def test_no_tier_is_priced_twice() -> None:
    """Azure's Phi-4 is in both lists."""
    assert len(api_prices("azure/phi-4")) == 1


def test_closed_models_by_the_providers_name() -> None:
    gpt = by_tier(api_prices("gpt-5-2025-08-07"))
    assert set(gpt) == set(Tier)
    # https://developers.openai.com/api/docs/pricing, 2026-10-14
    assert (gpt[Tier.STANDARD].input_usd_per_mtok, gpt[Tier.STANDARD].output_usd_per_mtok) == (1.25, 10)
    assert (gpt[Tier.BATCH].input_usd_per_mtok, gpt[Tier.BATCH].output_usd_per_mtok) == (0.625, 5)
    assert gpt[Tier.PRIORITY].output_usd_per_mtok == 20
    assert api_prices("openai/gpt-5") == api_prices("gpt-5")
    assert api_prices("claude-sonnet-4-5-20250929")[0].provider == "anthropic"


def test_token_only_model_has_every_provider() -> None:
    known = CATALOG.find_model("qwen3-32b")
    assert find_model_or_prices(CATALOG, "qwen3-32b") == (known, token_prices(known))
    model, prices = find_model_or_prices(CATALOG, "claude-sonnet-4-5")
    assert model is None
    # The same model is written with a point by one provider and with a hyphen by the others.
    assert {"anthropic", "google", "openrouter"} <= {price.provider for price in prices}
    assert {price.provider for price in find_model_or_prices(CATALOG, "openai/gpt-4.1-mini")[1]} == {"openai"}


def test_misspelled_model_suggests_both_lists() -> None:
    with pytest.raises(CatalogError, match=r"unknown model 'gpt-4\.1-minni'.*\[\[model\]\].*gpt-4\.1-mini"):
        find_model_or_prices(CATALOG, "gpt-4.1-minni")


def test_only_batch_takes_its_time() -> None:
    gpt = by_tier(api_prices("gpt-5"))
    assert {tier: turnaround_s(price) for tier, price in gpt.items() if turnaround_s(price)} == {Tier.BATCH: 86_400}


def test_batch_without_cached_price() -> None:
    gpt = by_tier(api_prices("gpt-4o"))
    assert gpt[Tier.BATCH].cached_usd_per_mtok == gpt[Tier.STANDARD].cached_usd_per_mtok == 1.25


@pytest.mark.parametrize("name", ["gpt-99", "claude-sonnet-4-57", "azure/gpt-4o", "", "nothing/at/all"])
def test_unknown_model_has_no_price(name: str) -> None:
    with pytest.raises(CatalogError, match="no token price for"):
        api_prices(name)


def test_long_prompts_have_their_own_price() -> None:
    (standard,) = (price for price in api_prices("gemini-2.5-pro") if price.tier is Tier.STANDARD)
    (longer,) = standard.long_prompts
    assert (longer.above_tokens, longer.input_usd_per_mtok) == (200_000, 2 * standard.input_usd_per_mtok)


@pytest.mark.parametrize("name", ["gemini-2.5-pro", "gpt-5", "claude-sonnet-4-5"])
@pytest.mark.parametrize(("prompt", "cached", "output"), [(1000, 0, 10), (200_000, 50_000, 1), (200_001, 50_000, 999)])
def test_costs_are_those_of_the_library(name: str, prompt: int, cached: int, output: int) -> None:
    """An independent answer: the library's own calculator, at the same moment."""
    usage = Usage(input_tokens=prompt, cache_read_tokens=cached, output_tokens=output)
    noon = dt.datetime.combine(snapshot_date(), dt.time(12), dt.UTC)
    for price in api_prices(name):
        context = {Tier.BATCH: {"processing": "batch"}}.get(price.tier, {"service_tier": price.tier.value})
        expected = calc_price(
            usage,
            price.provider_model,
            provider_id=price.provider,
            genai_request_timestamp=noon,
            price_context=None if price.tier is Tier.STANDARD else context,
        )
        assert cost_usd(price, prompt, cached, output) == pytest.approx(float(expected.total_price))


def test_costs_of_many_requests() -> None:
    longer = LongPrompt(above_tokens=100, input_usd_per_mtok=4, cached_usd_per_mtok=1, output_usd_per_mtok=16)
    usd = cost_usd(price(long_prompts=(longer,)), np.array([100, 101]), np.array([40, 0]), np.array([10, 10]))
    assert usd == pytest.approx([(60 * 2 + 40 * 0.5 + 10 * 8) / 1e6, (101 * 4 + 10 * 16) / 1e6])
    assert usd.shape == (2,)
    assert cost_usd(price(), np.array([]), np.array([]), np.array([])).shape == (0,)


def test_addresses_match_the_library() -> None:
    """The library knows each provider's address as a pattern, by which it recognizes calls."""
    patterns = {provider.id: provider.api_pattern for provider in price_list()}
    known = [token_api(price(provider=provider), "venue") for provider in patterns]
    checked = [api for api in known if api.url and not api.price.provider.startswith("huggingface_")]
    assert len(checked) > 20
    assert [api.url for api in checked if not re.match(patterns[api.price.provider], api.url)] == []


def test_router_names_the_provider() -> None:
    routed = token_api(price(provider="huggingface_fireworks-ai", provider_model="Qwen/Qwen3-32B"), "venue")
    assert (routed.model, routed.api_key_env) == ("Qwen/Qwen3-32B:fireworks-ai", "HF_TOKEN")
    unknown = token_api(price(), "venue", ["deferrable"])
    assert (unknown.model, unknown.url, unknown.lanes) == ("m", "", ["deferrable"])


def test_kept_prices_are_those_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process reads the prices from a file, without the library; a damaged one is made again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    genai._prices_in_use.cache_clear()
    made = genai.list_in_use()
    (kept,) = (tmp_path / "meritorder").glob("token-prices-*.json")
    monkeypatch.setattr(genai, "price_list", lambda: pytest.fail("the library is asked again"))
    genai._prices_in_use.cache_clear()
    assert genai.list_in_use() == made
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept.write_bytes(b'[{"provider":')
    genai._prices_in_use.cache_clear()
    assert genai.list_in_use() == made
    genai._prices_in_use.cache_clear()
