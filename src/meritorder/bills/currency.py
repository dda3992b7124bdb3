"""The currency of a bill: US dollars, or another at the rates that the user gives."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import polars as pl

from meritorder.bills.columns import to_money
from meritorder.errors import BillError
from meritorder.records.evidence import Assumption

DOLLARS: Final = "USD"
_AMOUNTS: Final = ("billed_usd", "amortised_usd", "list_usd", "stated_usd")


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
