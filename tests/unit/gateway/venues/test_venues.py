"""What runs at a venue, what it costs, and the merit order."""

from decimal import Decimal

import pytest

from meritorder.gateway import config
from meritorder.gateway.venues import venues
from meritorder.gateway.venues.venues import StreamPace, Venues
from meritorder.gateway.wire.usage import StreamMeter, Usage

EVENT = b"data: {}\n\n"


def build(*tables: dict[str, object]) -> Venues:
    served = [{"url": "http://x", "models": ["m"]} | table for table in tables]
    return venues.build_venues(config.parse_settings({"venue": served}, where="test"))


def priced(**price: str) -> dict[str, object]:
    return {"name": "api", "price": {name: float(value) for name, value in price.items()}}


@pytest.mark.asyncio
async def test_cached_tokens_are_charged_once() -> None:
    price = priced(input_usd_per_mtok="2", cached_usd_per_mtok="0.5", output_usd_per_mtok="8")
    (venue,) = build(price).all
    usage = Usage(input_tokens=1000, cached_tokens=400, output_tokens=100)
    usd = (600 * Decimal(2) + 400 * Decimal("0.5") + 100 * Decimal(8)) / 10**6
    assert venue.cost_picousd(usage) == usd * 10**12


@pytest.mark.asyncio
async def test_cached_tokens_default_to_input_price() -> None:
    (venue,) = build(priced(input_usd_per_mtok="2", output_usd_per_mtok="8")).all
    cached, plain = Usage(input_tokens=1000, cached_tokens=400), Usage(input_tokens=1000)
    assert venue.cost_picousd(cached) == venue.cost_picousd(plain) == 2 * 10**9


@pytest.mark.asyncio
async def test_no_price_no_cost() -> None:
    (venue,) = build({"name": "own", "kind": "vllm"}).all
    assert venue.cost_picousd(Usage(input_tokens=1)) is None


@pytest.mark.asyncio
async def test_merit_order_ends_with_fallbacks() -> None:
    cheap = {"name": "cheap", "price": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1}}
    expensive = {"name": "expensive", "price": {"input_usd_per_mtok": 5, "output_usd_per_mtok": 1}}
    fallback = {"name": "fallback", "fallback": True}
    found = build(fallback, expensive, cheap, {"name": "own", "kind": "vllm"})
    assert [venue.name for venue in found.serving("m", "realtime")] == ["own", "cheap", "expensive", "fallback"]


def test_pace_of_streams_in_progress() -> None:
    pace, fast, slow = StreamPace(), StreamMeter(), StreamMeter()
    pace.add(fast)
    pace.add(slow)
    assert pace.sample_tpot_s(10.0) is None  # nothing to compare with
    for second in range(1, 3):
        fast.feed(EVENT * 9)
        slow.feed(EVENT)
        assert pace.sample_tpot_s(10.0 + second) == pytest.approx(0.2)
    pace.remove(slow)
    for second in range(3, 9):
        fast.feed(EVENT * 9)
        late = pace.sample_tpot_s(10.0 + second)
    assert late == pytest.approx(1 / 9)


def test_too_few_tokens_no_pace() -> None:
    pace, meter = StreamPace(), StreamMeter()
    pace.add(meter)
    pace.sample_tpot_s(1.0)
    meter.feed(EVENT * 3)
    assert pace.sample_tpot_s(2.0) is None
    meter.feed(EVENT)
    assert pace.sample_tpot_s(3.0) == pytest.approx(0.5)
