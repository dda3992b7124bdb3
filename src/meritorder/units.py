"""Conversions between units, and their formats; no other module contains a 3600 or a 1e6.

Times are in seconds, money in US dollars, memory in bytes; the name of a rate states its units.
"""

import datetime as dt
import math
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

SECONDS_PER_MINUTE: Final = 60.0
SECONDS_PER_HOUR: Final = 3600.0
SECONDS_PER_DAY: Final = 86_400.0
SECONDS_PER_WEEK: Final = 7 * SECONDS_PER_DAY
HOURS_PER_DAY: Final = 24
DAYS_PER_YEAR: Final = 365.0
# The hours of a year divided by twelve, as in AWS and FinOps practice.
HOURS_PER_MONTH: Final = 730.0
TOKENS_PER_MTOK: Final = 1_000_000
BYTES_PER_MIB: Final = 1024**2
BYTES_PER_GIB: Final = 1024**3
MS_PER_S: Final = 1000.0
WATTS_PER_KILOWATT: Final = 1000.0
PICOUSD_PER_USD: Final = 1_000_000_000_000
_PICO_DIGITS: Final = 12
_WHOLE_RATIO: Final = 10.0
# Beyond this, the price of a replica is a typo; what it costs in an hour still fits into 64 bits of picodollars.
MAX_USD_PER_HOUR: Final = 1_000_000
GRAMS_PER_TONNE: Final = 1e6
# For one unit of any currency; more, or infinity, is a mistake.
MAX_USD_PER_UNIT: Final = 1000

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|hr|hours?|d|days?|w)(?![a-z])", re.IGNORECASE)
_SECONDS_PER_UNIT: Final = {
    "ms": 1 / MS_PER_S,
    "s": 1.0,
    "sec": 1.0,
    "m": SECONDS_PER_MINUTE,
    "min": SECONDS_PER_MINUTE,
    "h": SECONDS_PER_HOUR,
    "hr": SECONDS_PER_HOUR,
    "hour": SECONDS_PER_HOUR,
    "hours": SECONDS_PER_HOUR,
    "d": SECONDS_PER_DAY,
    "day": SECONDS_PER_DAY,
    "days": SECONDS_PER_DAY,
    "w": SECONDS_PER_WEEK,
}


def parse_duration_s(text: str) -> float | None:
    """Return the seconds of `90s`, `30m`, `4h`, `1h30m`, `2d` or `1w`; None if the text is not a duration."""
    stripped = text.strip()
    parts = _DURATION_PART.findall(stripped)
    if not parts or _DURATION_PART.sub("", stripped).strip():
        return None
    return sum(float(number) * _SECONDS_PER_UNIT[unit.lower()] for number, unit in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRate:
    """Dollars for one unit of a currency, which is its ISO code in capitals."""

    currency: str
    usd: Decimal

    def __str__(self) -> str:
        return f"{self.currency}={self.usd}"


def parse_exchange_rate(text: str) -> ExchangeRate | None:
    """Return the rate of `EUR=1.08`; None if the text is not a rate."""
    currency, _, amount = text.partition("=")
    try:
        usd = Decimal(amount.strip().removeprefix("$"))
    except InvalidOperation:
        return None
    if not re.fullmatch(r"[A-Za-z]{3}", currency) or not usd.is_finite() or not 0 < usd < MAX_USD_PER_UNIT:
        return None
    return ExchangeRate(currency=currency.upper(), usd=usd)


def format_duration(seconds: float) -> str:
    """Format seconds in the largest readable unit: `310 ms`, `12 min`, `4 h`, `2.5 d`."""
    magnitude = abs(seconds)
    if magnitude < 1:
        return f"{seconds * MS_PER_S:.3g} ms"
    for limit, divisor, unit in (
        (2 * SECONDS_PER_MINUTE, 1.0, "s"),
        (2 * SECONDS_PER_HOUR, SECONDS_PER_MINUTE, "min"),
        (2 * SECONDS_PER_DAY, SECONDS_PER_HOUR, "h"),
    ):
        if magnitude < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / SECONDS_PER_DAY:.3g} d"


def interruptions_per_hour(share_per_month: float) -> float:
    """Return the hourly rate at which a share of machines is interrupted within a month.

    rate = -ln(1 - share) / hours of a month
    """
    return -math.log1p(-min(share_per_month, 1 - 1e-9)) / HOURS_PER_MONTH


def format_usd(usd: float | Decimal, decimals: int | None = None) -> str:
    """Format dollars with significant digits: `$12,345`, `$1.24`, `$0.000183`.

    Args:
        usd: An amount.
        decimals: Digits after the point, for amounts in one column; by magnitude if None.
    """
    magnitude = abs(float(usd))
    sign = "-" if usd < 0 else ""
    if decimals is not None:
        return f"{sign}${magnitude:,.{decimals}f}"
    if magnitude >= 1000:
        return f"{sign}${magnitude:,.0f}"
    if magnitude >= 1:
        return f"{sign}${magnitude:,.2f}"
    if magnitude == 0:
        return "$0"
    whole, _, cents = (f"{magnitude:.3g}" if magnitude >= 1e-4 else f"{magnitude:.6f}").partition(".")
    return f"{sign}${whole}.{cents:0<2}"


def format_share(share: float | Decimal, decimals: int = 0) -> str:
    """Format a share in percent: `46 %`, `99.2 %`; never rounded up to 100 % or down to 0 %."""
    text = f"{100 * float(share):.{decimals}f}"
    smallest = 10.0**-decimals
    if share < 1 and float(text) >= 100:
        return f">{100 - smallest:.{decimals}f} %"
    if share > 0 and float(text) == 0:
        return f"<{smallest:.{decimals}f} %"
    return f"{text} %"


def format_ratio(ratio: float) -> str:
    """Format a ratio of two amounts: `0.35`, `2.1`, `36`, `1,200`."""
    if ratio < 1:
        return f"{ratio:.2g}"
    return f"{ratio:.1f}" if ratio < _WHOLE_RATIO else f"{ratio:,.0f}"


def format_change(before: float, after: float) -> str:
    """Say how much less or more a positive amount is than the one before: `2.1 times less`, `about the same`."""
    higher, lower = max(before, after), min(before, after)
    times = format_ratio(higher / lower)
    return "about the same" if times == "1.0" else f"{times} times {'less' if after < before else 'more'}"


def format_count(number: int, noun: str) -> str:
    """Format a count with its noun: `1 request`, `2,500 requests`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def exact_usd(picousd: int) -> Decimal:
    """Return exact dollars."""
    return Decimal(picousd).scaleb(-_PICO_DIGITS) if picousd else Decimal(0)


def usd_per_mtok(usd: float, tokens: float) -> float:
    """Return dollars per million tokens."""
    return usd / tokens * TOKENS_PER_MTOK


def utc(epoch_s: float) -> dt.datetime:
    """Return an epoch time as a timezone-aware datetime in UTC."""
    return dt.datetime.fromtimestamp(epoch_s, tz=dt.UTC)
