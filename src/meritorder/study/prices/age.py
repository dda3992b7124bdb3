"""The age of the prices of an answer, counted from today."""

import datetime as dt
from collections.abc import Iterable

from meritorder.records.evidence import PriceUsed, with_ages


def today() -> dt.date:
    """Return the day that the ages of prices count from."""
    return dt.datetime.now(tz=dt.UTC).date()


def priced_today(prices: Iterable[PriceUsed]) -> list[PriceUsed]:
    """Return the prices of an answer with their age today."""
    return with_ages(prices, today())
