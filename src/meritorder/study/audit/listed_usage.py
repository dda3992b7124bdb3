"""Usage that an export counts and does not price, at the prices of the catalog's price list; marked as such."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from meritorder import bills
from meritorder.bills.columns import to_money
from meritorder.catalog.tokens import api_prices
from meritorder.domain import Tier
from meritorder.errors import CatalogError
from meritorder.offers import TokenPrice
from meritorder.records.evidence import Assumption, PriceUsed
from meritorder.units import TOKENS_PER_MTOK

_USED_FOR: Final = "tokens that the export does not price"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUsage:
    """A bill whose unpriced usage is priced at list.

    Args:
        bill: The bill, with the amortized cost of such usage.
        assumptions: What was priced, and what could not be, a sentence each.
        prices: The prices used.
    """

    bill: bills.Bill
    assumptions: tuple[Assumption, ...] = ()
    prices: tuple[PriceUsed, ...] = ()


def price_usage(bill: bills.Bill) -> ListedUsage:
    """Return a bill with the usage priced that it counts without amounts.

    Usage of a provider whose costs the bill has too stays without a price, since it is in these costs.
    """
    costs = bill.groups.filter("priced", pl.col("purchase") == bills.PurchaseOption.TOKENS)["provider"].unique()
    usage = bill.groups.filter(~pl.col("priced") & ~pl.col("provider").is_in(costs.implode()))
    if usage.is_empty():
        return ListedUsage(bill=bill)
    rates: dict[int, float] = {}
    used: dict[tuple[str, str], TokenPrice] = {}
    for row in usage.iter_rows(named=True):
        price = prices_of(row["provider"], row["model"] or "").get(Tier(row["tier"] or Tier.STANDARD))
        rate = rate_usd_per_mtok(price, row["token_type"] or "") if price else 0.0
        if price and rate:
            rates[row["group"]] = rate / TOKENS_PER_MTOK
            used[row["model"], price.tier] = price
    priced = usage.filter(pl.col("group").is_in(list(rates)))
    unpriced = usage.filter(~pl.col("group").is_in(list(rates)))
    return ListedUsage(
        bill=_at_rates(bill, rates) if rates else bill,
        assumptions=(*_priced(priced, used), *_unpriced(unpriced)),
        prices=tuple(PriceUsed.from_token_price(price, used_for=_USED_FOR) for price in used.values()),
    )


def prices_of(provider: str, model: str) -> dict[Tier, TokenPrice]:
    """Return the prices of a provider's model by tier; empty if they are not in the price list."""
    for name in (f"{provider}/{model}", model):
        try:
            return {price.tier: price for price in api_prices(name) if price.provider == provider}
        except CatalogError:
            continue
    return {}


def rate_usd_per_mtok(price: TokenPrice, token_type: str) -> float:
    """Return the price of a type of tokens, 0 if the price list does not have that type."""
    return {
        "input": price.input_usd_per_mtok,
        "cached_input": price.cached_usd_per_mtok,
        "output": price.output_usd_per_mtok,
    }.get(token_type, 0.0)


def _at_rates(bill: bills.Bill, rates: dict[int, float]) -> bills.Bill:
    """Return the bill with the amortized and list cost of these groups, in dollars a token."""
    usd_per_token = pl.col("group").replace_strict(rates, default=None, return_dtype=pl.Float64)
    cost = pl.col("quantity") * usd_per_token
    known = usd_per_token.is_not_null()
    money = {name: pl.when(known).then(to_money(cost)).otherwise(name) for name in ("amortised_usd", "list_usd")}
    floats = {name: pl.when(known).then(cost).otherwise(name) for name in money}
    return replace(
        bill,
        groups=bill.groups.with_columns(**money, priced=known | pl.col("priced")),
        spans=bill.spans.with_columns(**floats),
    )


def _priced(groups: pl.DataFrame, used: dict[tuple[str, str], TokenPrice]) -> Iterator[Assumption]:
    counts = groups.group_by("model", "tier", "token_type").agg(pl.col("quantity").sum())
    for (model, tier), price in used.items():
        of_model = counts.filter((pl.col("model") == model) & (pl.col("tier") == str(tier)))
        tokens = dict(of_model.select("token_type", "quantity").rows())
        parts = [f"{count:,.0f} {kind.replace('_', ' ')}" for kind, count in sorted(tokens.items())]
        longer = "; longer prompts cost more" if price.long_prompts else ""
        yield Assumption(
            text=f"the export has no prices: {' and '.join(parts)} tokens of {model} are at the {tier} list price of "
            f"{price.as_of}{longer}"
        )


def _unpriced(groups: pl.DataFrame) -> Iterator[Assumption]:
    counts = groups.group_by("model", "token_type", "unit").agg(pl.col("quantity").sum())
    for model, kind, unit, count in counts.sort("quantity", descending=True).rows():
        what = f"{kind.replace('_', ' ')} {unit}" if kind else unit
        yield Assumption(text=f"{count:,.0f} {what} of {model} have no prices, in the export or in the price list")
