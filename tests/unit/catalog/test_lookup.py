"""Finding things by their names, and what to say when they are not there."""

import pytest

from meritorder.catalog import load
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError

CATALOG = load()
ON_DEMAND = (PricingModel.ON_DEMAND,)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("llama-3.1-70b", "llama-3.1-70b"),
        ("LLAMA-3.1-70B", "llama-3.1-70b"),
        ("meta-llama/Llama-3.1-70B-Instruct", "llama-3.1-70b"),
        ("meta-llama/Meta-Llama-3.1-70B", "llama-3.1-70b"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.3-70b"),
        ("bedrock/meta.llama3-1-8b-instruct-v1:0", "llama-3.1-8b"),
        ("deepseek/deepseek_v3", "deepseek-v3"),
        (" openai/gpt-oss-120b ", "gpt-oss-120b"),
    ],
)
def test_models_are_found_by_alias(text: str, model: str) -> None:
    assert CATALOG.find_model(text).id == model


@pytest.mark.parametrize(
    ("text", "model", "precision"),
    [
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8", "llama-3.1-8b", "fp8"),
        ("qwen3-32b-fp8-dynamic", "qwen3-32b", "fp8"),
        ("nvidia/Llama-3.3-70B-Instruct-FP4", "llama-3.3-70b", "nvfp4"),
        ("zai-org/GLM-5-FP8", "glm-5", "fp8"),
        ("qwen3-32b", "qwen3-32b", "bf16"),
    ],
)
def test_name_states_the_precision(text: str, model: str, precision: str) -> None:
    found = CATALOG.find_model(text)
    assert (found.id, found.served_precision) == (model, precision)


@pytest.mark.parametrize(("text", "hardware"), [("H100", "h100"), ("H100-80GB", "h100"), ("A100_40GB", "a100-40gb")])
def test_hardware_by_any_of_its_names(text: str, hardware: str) -> None:
    assert CATALOG.find_hardware(text).id == hardware


@pytest.mark.parametrize(
    "name",
    ["nousresearch/hermes-3-llama-3.1-70b", "llama-3-70b", "deepseek-r1-0528", "deepseek-chat", "qwen3-32b-awq"],
)
def test_similar_name_is_unknown(name: str) -> None:
    with pytest.raises(CatalogError):
        CATALOG.find_model(name)


def test_unknown_name_suggests_others() -> None:
    with pytest.raises(CatalogError, match=r"unknown model 'llama-3.1-71b'; similar: .*llama-3.1-70b.*--catalog FILE"):
        CATALOG.find_model("llama-3.1-71b")
    with pytest.raises(CatalogError, match=r"unknown hardware 'tpu-v5e'; known: .*h100.*\[\[hardware\]\]"):
        CATALOG.find_hardware("tpu-v5e")


def test_offers_are_filtered_and_sorted() -> None:
    offers = CATALOG.select_offers("h100", ("aws", "lambda"), None, ON_DEMAND, 8)
    prices = [offer.usd_per_gpu_hour for offer in offers]
    assert prices == sorted(prices)
    assert {offer.provider for offer in offers} == {"aws", "lambda"}
    assert {offer.gpus for offer in offers} == {8}


def test_global_prices_match_any_region() -> None:
    offers = CATALOG.select_offers("h100", region="us-east-1", pricing_model=PricingModel.ON_DEMAND)
    assert {offer.region for offer in offers} == {"us-east-1", ""}


def test_no_filter_gives_everything() -> None:
    assert len(CATALOG.select_offers()) == len(CATALOG.offers)


def test_cheapest_holds_whole_replicas() -> None:
    offer = CATALOG.cheapest("h100", 4, ON_DEMAND, providers=("aws",), regions=("us-east-1",))
    assert (offer.instance, offer.usd_per_gpu_hour) == ("p5.48xlarge", 6.88)


def test_no_offer_says_what_there_is() -> None:
    with pytest.raises(
        CatalogError, match=r"no price for 8 x gb200, on demand.*available: coreweave on demand \(4 GPUs\)"
    ):
        CATALOG.cheapest("gb200", 8, ON_DEMAND)
    with pytest.raises(CatalogError, match="available: no offer"):
        CATALOG.cheapest("gb300", 4, ON_DEMAND)
