"""The tables that ship with the project: complete, dated, and right where they were checked by hand."""

import re
from collections.abc import Mapping

import pytest

from meritorder.catalog import load
from meritorder.domain import Hardware, Model, PricingModel
from meritorder.offers import Offer

ISO_DATE = re.compile(r"^20\d{2}-\d{2}(-\d{2})?$")
CATALOG = load()


def test_every_row_has_source_and_date() -> None:
    for fact in (*CATALOG.hardware.values(), *CATALOG.models.values(), *CATALOG.offers):
        assert len(fact.source) > 10, fact
        assert ISO_DATE.match(fact.as_of), fact


def test_every_offer_names_a_known_source() -> None:
    for offer in CATALOG.offers:
        assert "<http" in offer.source, offer


def test_every_shipped_row_is_valid() -> None:
    assert not [rejection for rejection in CATALOG.rejected if "offers.csv, row" in rejection.what]


@pytest.mark.parametrize("nouns", [CATALOG.hardware, CATALOG.models], ids=["hardware", "models"])
def test_no_name_stands_for_two(nouns: Mapping[str, Hardware | Model]) -> None:
    names = [name for noun in nouns.values() for name in {noun.id, *noun.aliases}]
    assert len(names) == len(set(names))
    assert names == [name.lower() for name in names]


def one(**wanted: object) -> Offer:
    (offer,) = (offer for offer in CATALOG.offers if all(getattr(offer, k) == v for k, v in wanted.items()))
    return offer


@pytest.mark.parametrize(
    ("wanted", "hardware", "gpus", "usd_per_hour"),
    [
        # https://aws.amazon.com/ec2/pricing/on-demand/ (price list of 2026-07-28)
        ({"instance": "p5.48xlarge", "region": "us-east-1", "pricing_model": "on_demand"}, "h100", 8, 55.04),
        (
            {"instance": "p5en.48xlarge", "region": "us-east-1", "pricing_model": "on_demand"},
            "h200",
            8,
            63.296,
        ),
        # https://lambda.ai/pricing, 2026-09-25: $3.99 a GPU-hour in a machine of eight
        ({"provider": "lambda", "instance": "8x H100 SXM"}, "h100", 8, 8 * 3.99),
        # https://www.coreweave.com/pricing, 2026-09-20
        ({"provider": "coreweave", "instance": "HGX B200", "pricing_model": "spot"}, "b200", 8, 34.11),
        # https://azure.microsoft.com/pricing, East US, 2026-09-06
        ({"instance": "NC40ads_H100_v5", "pricing_model": "on_demand"}, "h100-nvl", 1, 6.98),
        # https://www.runpod.io/pricing, 2026-09-25: $4.59 a GPU-hour in the secure cloud
        ({"provider": "runpod", "instance": "H200 Secure"}, "h200", 1, 4.59),
        # https://www.runpod.io/pricing: $3.99 since 2026-10-19
        ({"provider": "runpod", "instance": "H100 SXM Secure"}, "h100", 1, 3.99),
        # https://www.crusoe.ai/cloud/pricing, 2026-09-20: $4.29 a GPU-hour, in machines of eight
        ({"provider": "crusoe", "instance": "H200 141GB HGX"}, "h200", 8, 8 * 4.29),
    ],
)
def test_prices_checked_by_hand(wanted: dict[str, object], hardware: str, gpus: int, usd_per_hour: float) -> None:
    offer = one(**wanted)
    assert (offer.hardware, offer.gpus) == (hardware, gpus)
    assert offer.usd_per_hour == pytest.approx(usd_per_hour)


def test_no_offer_is_a_multiple_of_another() -> None:
    counted = {offer.instance for offer in CATALOG.offers if re.match(r"\d+x ", offer.instance)}
    assert counted == {
        "1x A100 SXM 40GB",
        "1x B200 SXM6",
        "1x H100 PCIe",
        "1x H100 SXM",
        "8x A100 SXM 80GB",
        "8x H100 SXM",
    }


def test_machine_of_each_size_can_be_rented() -> None:
    """At $3.99 a GPU-hour, four GPUs cost $15.96 an hour."""
    (four,) = (
        offer
        for offer in CATALOG.select_offers("h100", "runpod", gpus=4)
        if offer.gpus == 4 and "Secure" in offer.instance
    )
    assert (four.instance, four.usd_per_hour) == ("4x H100 SXM Secure", pytest.approx(15.96))


def test_aws_spot_follows_its_advisor() -> None:
    spot = one(instance="p5.48xlarge", region="us-west-2", pricing_model=PricingModel.SPOT)
    on_demand = one(instance="p5.48xlarge", region="us-west-2", pricing_model=PricingModel.ON_DEMAND)
    assert spot.usd_per_hour == pytest.approx(on_demand.usd_per_hour * (1 - 0.46))
    assert spot.interruptions_per_month == 0.075  # bucket 5-10 %
    assert (spot.as_of, spot.confidence, spot.assumed) == ("2025-06-28", "low", False)


def test_unknown_prices_stay_unknown() -> None:
    p5_reserved = CATALOG.select_offers("h100", "aws", None, (PricingModel.RESERVED, PricingModel.SAVINGS_PLAN))
    assert p5_reserved == ()
    assert CATALOG.select_offers("gb300") == ()


@pytest.mark.parametrize(
    ("model", "kv_bytes"),
    [
        # 80 layers, 8 key-value heads of 128 (arXiv:2407.21783, table 3), key and value, two bytes
        ("llama-3.1-70b", 80 * 8 * 128 * 2 * 2),
        # 61 layers, one latent vector of 512 + 64 (arXiv:2412.19437, section 4.2), two bytes
        ("deepseek-r1", 61 * (512 + 64) * 2),
        # 36 layers of which 18 see all tokens, 8 key-value heads of 64 (arXiv:2508.10925)
        ("gpt-oss-120b", 18 * 8 * 64 * 2 * 2),
        # 94 layers, 4 key-value heads of 128 (arXiv:2505.09388, table 2)
        ("qwen3-235b-a22b", 94 * 4 * 128 * 2 * 2),
    ],
)
def test_key_and_value_memory(model: str, kv_bytes: float) -> None:
    assert CATALOG.models[model].kv_bytes_per_token == kv_bytes


def test_experts_activate_fewer_parameters() -> None:
    for model in CATALOG.models.values():
        assert 0 < model.active_parameters <= model.parameters


def test_hardware_is_within_reason() -> None:
    for hardware in CATALOG.hardware.values():
        assert 20e9 < hardware.memory_bytes < 400e9
        assert 1 < hardware.bf16_flops / hardware.memory_bandwidth_bytes_per_s < 500
        assert hardware.fp8_flops is None or hardware.fp8_flops == pytest.approx(2 * hardware.bf16_flops, rel=0.02)
