"""Offers of the catalog as payments."""

import numpy as np
import pytest

from meritorder.domain import PricingModel
from meritorder.errors import ConfigError
from meritorder.offers import Offer
from meritorder.planner.model.supply import (
    Reserved,
    Spot,
    capacity_block_from_offer,
    payment_from_offer,
    savings_plans_from_offers,
)
from meritorder.units import interruptions_per_hour


def offer(model: PricingModel, **options: object) -> Offer:
    values: dict[str, object] = {
        "provider": "aws",
        "region": "us-east-1",
        "instance": "p5",
        "hardware": "h100",
        "gpus": 8,
        "pricing_model": model,
        "usd_per_hour": 50.0,
        "as_of": "2026-01-01",
        "source": "test",
        **options,
    }
    return Offer(**values)  # type: ignore[arg-type]


def test_offers_become_payments() -> None:
    held = payment_from_offer(offer(PricingModel.RESERVED, term="1y", payment="no_upfront"))
    assert isinstance(held, Reserved)
    assert (held.machine, held.held, held.kind) == ("aws us-east-1 p5", 0, "reserved")
    with pytest.raises(ConfigError, match="interruption rate"):
        payment_from_offer(offer(PricingModel.SPOT))
    spot = payment_from_offer(offer(PricingModel.SPOT, interruptions_per_month=0.2), available=3)
    assert isinstance(spot, Spot)
    assert np.exp(-spot.interruptions_per_hour * 730) == pytest.approx(0.8)
    assert interruptions_per_hour(0.0) == 0
    (plan,) = savings_plans_from_offers([offer(PricingModel.SAVINGS_PLAN, term="1y"), offer(PricingModel.ON_DEMAND)])
    assert plan.usd_per_hour == {"aws us-east-1 p5": 50.0}
    block = capacity_block_from_offer(offer(PricingModel.CAPACITY_BLOCK), 2, slots=288, slots_per_hour=4)
    assert (block.slots, block.starts) == (192, (0, 96, 192))
