"""Tokens that were bought at real-time tiers and could have waited for the batch tier of the same model."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from meritorder.catalog.tokens import api_prices, batch_tier
from meritorder.domain import Tier
from meritorder.errors import CatalogError
from meritorder.offers import TokenPrice
from meritorder.records.findings import Confidence
from meritorder.study.audit.context import AuditContext
from meritorder.study.audit.ledger import Ledger, StepResult, TokenPurchase, worth_reporting
from meritorder.study.audit.listed_usage import rate_usd_per_mtok
from meritorder.units import format_share, format_usd

_OWN_LIST: Final = ("openai", "anthropic", "google", "gcp")
"""Providers whose own prices are in the price list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _BatchCost:
    """The cost of tokens at the batch tier, how certain it is, and its basis."""

    usd: float
    confidence: Confidence
    basis: str


def find_tokens_for_batch(ledger: Ledger, context: AuditContext) -> StepResult:
    """Find tokens that may wait and were bought at another tier than batch or flex."""
    remaining: list[TokenPurchase] = []
    moved: dict[tuple[str, str], list[tuple[TokenPurchase, _BatchCost]]] = {}
    for tokens in ledger.tokens:
        batch = _at_batch(tokens) if tokens.may_wait and tokens.realtime else None
        if batch is None or not worth_reporting(tokens.usd - batch.usd):
            remaining.append(tokens)
            continue
        moved.setdefault((tokens.provider, tokens.model), []).append((tokens, batch))
        remaining.append(replace(tokens, tier=Tier.BATCH, usd=batch.usd))
    findings = []
    for (provider, model), pairs in moved.items():
        before, after = sum(tokens.usd for tokens, _ in pairs), sum(batch.usd for _, batch in pairs)
        bases = dict.fromkeys(batch.basis for _, batch in pairs)
        name = model or f"tokens of {provider}"
        findings.append(
            ledger.finding(
                "tokens_could_wait",
                usd=before - after,
                title=f"{name} is bought at real-time prices for work that may wait",
                confidence=min((batch.confidence for _, batch in pairs), key=("low", "medium", "high").index),
                evidence=f"{format_usd(before)} was paid at other tiers than batch or flex for tokens that may "
                f"wait; at the batch tier they cost {format_usd(after)} ({'; '.join(bases)})",
                fix="send them to the provider's batch tier; see who buys them: "
                f"meritorder audit {context.bill_arguments} --by model --by account",
                where=name,
            )
        )
    return replace(ledger, tokens=tuple(remaining)), findings


def _at_batch(tokens: TokenPurchase) -> _BatchCost | None:
    """Return the cost at the batch tier by this bill, the price list, or the provider's rule; None if unknown."""
    if tokens.batch_usd_per_unit is not None and tokens.quantity > 0:
        usd = tokens.quantity * tokens.batch_usd_per_unit
        return _BatchCost(usd=min(usd, tokens.usd), confidence="high", basis="the price that this bill paid for batch")
    listed = _by_price_list(tokens)
    if listed:
        return listed
    rule = batch_tier(tokens.provider)
    if rule is None or tokens.token_type not in rule.token_types or tokens.tier != Tier.STANDARD:
        return None
    basis = f"{format_share(rule.share)} of the standard price, {rule.note}, {rule.source}, {rule.as_of}"
    return _BatchCost(usd=tokens.usd * rule.share, confidence="medium", basis=basis)


def _by_price_list(tokens: TokenPurchase) -> _BatchCost | None:
    prices = _listed(tokens.model) if tokens.tier == Tier.STANDARD else {}
    batch = prices.get(Tier.BATCH)
    if batch is None:
        return None
    share = rate_usd_per_mtok(batch, tokens.token_type) / (
        rate_usd_per_mtok(prices[Tier.STANDARD], tokens.token_type) or 1.0
    )
    if not 0 < share < 1:
        return None
    basis = f"{format_share(share)} of the standard price of {batch.provider_model}, {batch.source}, {batch.as_of}"
    own = tokens.provider in _OWN_LIST
    return _BatchCost(usd=tokens.usd * share, confidence="high" if own else "medium", basis=basis)


def _listed(model: str) -> dict[Tier, TokenPrice]:
    """Return the prices of a model by tier, in any spelling of its name; empty if it is not in the price list."""
    spelled = model.strip().lower().replace(" ", "-")
    for name in dict.fromkeys((model, spelled, spelled.replace(".", "-"))):
        try:
            return {price.tier: price for price in api_prices(name)}
        except CatalogError:
            continue
    return {}


def untagged_usd(tokens: Iterable[TokenPurchase]) -> float:
    """Return the cost of real-time tokens that are not marked as deferrable."""
    return sum(purchase.usd for purchase in tokens if purchase.realtime and not purchase.may_wait)
