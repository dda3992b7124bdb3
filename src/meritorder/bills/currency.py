"""The currency of a bill: US dollars, or another at the rates that the user gives."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import polars as pl

from meritorder.bills.columns import SourceColumns, to_money
from meritorder.errors import BillError
from meritorder.records.evidence import Assumption

DOLLARS: Final = "USD"
_AMOUNTS: Final = ("billed_usd", "amortised_usd", "list_usd", "stated_usd")

_COLUMNS: Final = frozenset({"currency", "currencycode", "billingcurrency", "billingcurrencycode"})
_SEPARATORS: Final = re.compile(r"[\s_-]")
_SIGNS: Final = {"$": DOLLARS, "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}
_CODES: Final = (
    "AED|ARS|AUD|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|MYR|NOK|NZD|PHP|PLN|RON|RUB|SAR"
    "|SEK|SGD|THB|TRY|TWD|USD|VND|ZAR"
)
_SIGN: Final = "|".join(map(re.escape, _SIGNS))
_IN_NAME: Final = re.compile(
    rf"\s*\((?:US)?(?P<inside>{_SIGN}|(?i:{_CODES}))\)\s*$|[\s_-]+(?P<after>{_SIGN}|(?i:{_CODES}))$|(?<=[a-z])(?P<joined>{_CODES})$"
)
"""A currency at the end of a column's name: Cost ($), cost_usd, CostUSD."""

_PARTS: Final = {"cent": 100, "milli": 1000, "mill": 1000, "micro": 1_000_000, "nano": 1_000_000_000}
_PARTS_IN_NAME: Final = re.compile(
    r"(?i)(?:^|[\s_(-]|(?<=[a-z])(?-i:(?=[CMN])))(?P<part>cent|milli?|micro|nano)s?(?:[\s_-]?(?:usd|dollars?))?\)?$"
)
"""Parts of a currency at the end of a column's name: cost_cents, amount (micros), costMicros."""


def parts_in_name(column: str) -> int:
    """Return how many of the amounts of a column are one unit of its currency: 100 if its name says cents."""
    match = _PARTS_IN_NAME.search(column)
    return _PARTS[match["part"].lower()] if match else 1


def in_name(column: str) -> str | None:
    """Return the currency that the name of a column of amounts states, as its ISO code."""
    match = _IN_NAME.search(column)
    sign = match and next(filter(None, match.groups()))
    return _SIGNS.get(sign, sign.upper()) if sign else None


def without(column: str) -> str:
    """Return the name of a column without a currency at its end."""
    return _IN_NAME.sub("", column)


def beside(fields: SourceColumns, amounts: str) -> pl.Expr:
    """Return the currency of each amount: of a column for it, else of a sign in the amount, else dollars."""
    columns = [name for name in fields.schema if _SEPARATORS.sub("", name).casefold() in _COLUMNS]
    if not columns:
        fields.assumptions.append("amounts without a currency are taken as US dollars")
    by_sign: pl.Expr = pl.lit(DOLLARS)
    for sign, code in _SIGNS.items():
        by_sign = pl.when(fields.text(amounts).str.contains(sign, literal=True)).then(pl.lit(code)).otherwise(by_sign)
    return pl.coalesce(fields.text(*columns, needed=False), by_sign)


def in_dollars(columns: dict[str, pl.Expr], rates: Mapping[str, Decimal]) -> dict[str, pl.Expr]:
    """Return columns of CHARGES with the amounts in these currencies converted to dollars.

    Args:
        columns: Columns of CHARGES as expressions over those of a file.
        rates: Dollars for one unit, by currency.
    """
    if not rates:
        return columns
    currency = columns["currency"].str.to_uppercase()
    factor: pl.Expr = pl.lit(None, dtype=pl.Float64)
    for name, usd in rates.items():
        factor = pl.when(currency == name).then(pl.lit(float(usd))).otherwise(factor)
    converted = {
        name: pl.when(factor.is_null()).then(columns[name]).otherwise(to_money(columns[name].cast(pl.Float64) * factor))
        for name in _AMOUNTS
        if name in columns
    }
    dollars = pl.when(factor.is_null()).then(columns["currency"]).otherwise(pl.lit(DOLLARS))
    return columns | converted | {"currency": dollars}


def assumed(rates: Mapping[str, Decimal]) -> list[Assumption]:
    """Return the rates as assumptions of an answer."""
    return [Assumption(text=f"one {name} is {usd} dollars", option="--rate") for name, usd in rates.items()]


def check(groups: pl.DataFrame) -> None:
    """Refuse a bill in another currency than the US dollar.

    Raises:
        BillError: A charge is in a currency without a rate.
    """
    by_currency = (
        groups.filter(pl.col("currency").is_not_null())
        .group_by(pl.col("currency").str.to_uppercase())
        .agg(pl.col("rows").sum())
        .sort("rows", "currency", descending=[True, False])
        .rows()
    )
    others = [currency for currency, _ in by_currency if currency != DOLLARS]
    if not others:
        return
    where = groups["source"].item(0)
    fix = f"give its rate, in dollars for one {others[0]}: --rate {others[0]}=RATE"
    if len(by_currency) == 1:
        raise BillError(f"the bill is in {others[0]}, not in USD", where=where, fix=fix)
    listed = ", ".join(f"{currency} in {rows} row{'s' if rows != 1 else ''}" for currency, rows in by_currency)
    raise BillError(f"the bill mixes currencies: {listed}", where=where, fix=fix)
