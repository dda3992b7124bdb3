"""Prices, assumptions and intervals: what they write to a file."""

import msgspec

from meritorder.evidence import PriceUsed

LISTED = {"what": "8 x h100", "provider": "aws", "pricing_model": "spot", "usd": 20.0, "unit": "USD an hour"}


def test_unset_fields_are_not_written() -> None:
    written = msgspec.to_builtins(PriceUsed(**LISTED, used_for="batch"))
    assert written["used_for"] == "batch"
    assert "assumed" not in written


def test_price_reads_back_as_written() -> None:
    price = PriceUsed(**LISTED, assumed=False)
    text = msgspec.json.encode(price)
    assert b'"assumed":false' in text
    assert msgspec.json.decode(text, type=PriceUsed) == price
