"""The ledger of what is paid, from which findings take dollars, each dollar once.

    paid = ledger after all findings + sum of the findings

Each finding replaces machines, tokens or commitments by cheaper ones; its amount is the difference, so no dollar is in
two findings.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from meritorder import bills
from meritorder.domain import Tier
from meritorder.records.findings import Confidence, Finding, FindingKind
from meritorder.study.audit.pools import BilledFleet, BilledPool, paid_share

_MIN_USD: Final = 0.01
"""Smaller amounts are not reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPurchase:
    """Tokens of one model and type, bought at one tier.

    Args:
        provider: Provider that sells them.
        model: The bill's name of the model, "" if it has none.
        token_type: input, cached_input, cache_write or output; "" if the bill does not state it.
        tier: Service tier.
        unit: What the quantity counts.
        may_wait: Whether tags mark them as deferrable.
        quantity: Quantity bought.
        usd: Cost.
        batch_usd_per_unit: What the same bill paid for such tokens at the batch tier, None if it bought none.
    """

    provider: str
    model: str
    token_type: str
    tier: str
    unit: str
    may_wait: bool
    quantity: float
    usd: float
    batch_usd_per_unit: float | None

    @property
    def realtime(self) -> bool:
        """Whether they were bought at another tier than batch or flex."""
        return self.tier not in {Tier.BATCH, Tier.FLEX}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedCommitment:
    """The unused part of a commitment.

    Args:
        provider: Provider that sold it.
        commitment: Its name.
        purchase: Its purchase option.
        usd: Cost of the unused part.
        used_usd: Cost of the used part.
        list_usd: On-demand list price of what the used part covered.
        instances: Machines that it covered.
        regions: Regions in which it applies.
        bound: Whether it covers only one kind of machine.
    """

    provider: str
    commitment: str
    purchase: str
    usd: float
    used_usd: float
    list_usd: float
    instances: tuple[str, ...]
    regions: tuple[str, ...]
    bound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What is paid: machine hours, tokens, and unused parts of commitments.

    Args:
        fleet: Machine hours, None if the bill has none.
        tokens: Tokens bought.
        unused: Unused parts of commitments.
        months: Months of the bill.
    """

    fleet: BilledFleet | None
    tokens: tuple[TokenPurchase, ...]
    unused: tuple[UnusedCommitment, ...]
    months: float

    @property
    def usd(self) -> float:
        """Dollars in the ledger."""
        return sum(
            [pool.usd for pool in self.pools]
            + [purchase.usd for purchase in self.tokens]
            + [commitment.usd for commitment in self.unused]
        )

    @property
    def pools(self) -> tuple[BilledPool, ...]:
        """The machines, empty if the bill has no machine hours."""
        return self.fleet.pools if self.fleet else ()

    def with_pools(self, pools: Iterable[BilledPool]) -> "Ledger":
        """Return the ledger with its machines replaced."""
        return replace(self, fleet=replace(self.fleet, pools=tuple(pools))) if self.fleet else self

    def finding(
        self,
        kind: FindingKind,
        *,
        usd: float,
        title: str,
        confidence: Confidence,
        evidence: str,
        fix: str,
        where: str,
    ) -> Finding:
        """Return a finding, its dollars a month by the months of the bill."""
        return Finding(
            kind=kind,
            title=title,
            usd=float(usd),
            usd_per_month=float(usd) / self.months,
            confidence=confidence,
            evidence=evidence,
            fix=fix,
            where=where,
        )


StepResult = tuple[Ledger, list[Finding]]
"""The ledger without what one kind of finding found, and its findings."""


def worth_reporting(usd: float) -> bool:
    """Return whether an amount is at least a cent."""
    return usd >= _MIN_USD


def open_ledger(bill: bills.Bill, fleet: BilledFleet | None, months: float) -> Ledger:
    """Return the ledger before any finding, at the prices that were paid."""
    inference = bills.select_inference(bill.groups)
    share = paid_share(inference)
    return Ledger(
        fleet=fleet, tokens=tuple(_tokens(inference, share)), unused=tuple(_unused(inference, share)), months=months
    )


def _tokens(inference: pl.DataFrame, share: dict[str, float]) -> Iterable[TokenPurchase]:
    spend = bills.sum_tokens(inference.filter(pl.col("purchase") == bills.PurchaseOption.TOKENS))
    for row in spend.filter(pl.col("amortised_usd") > 0).iter_rows(named=True):
        paid = share.get(row["provider"] or "", 1.0)
        yield TokenPurchase(
            provider=row["provider"] or "",
            model=row["model"] or "",
            token_type=row["token_type"] or "",
            tier=row["tier"] or Tier.STANDARD,
            unit=row["unit"] or "",
            may_wait=bool(row["may_wait"]),
            quantity=float(row["quantity"] or 0.0),
            usd=float(row["amortised_usd"]) * paid,
            batch_usd_per_unit=None if row["batch_usd_per_unit"] is None else row["batch_usd_per_unit"] * paid,
        )


def _unused(inference: pl.DataFrame, share: dict[str, float]) -> Iterable[UnusedCommitment]:
    skus = pl.concat_str("sku", "description", ignore_nulls=True)
    family_bound = dict(
        inference.filter(pl.col("commitment").is_not_null())
        .group_by("commitment")
        .agg((skus.str.contains(r"(?i)EC2(Instance)?[ _-]?(SP|SavingsPlans?)\b|EC2SP:")).any())
        .rows()
    )
    rows = bills.sum_commitments(inference)
    lost = rows.filter(pl.col("unused_usd") > 0)
    if lost.is_empty():
        return
    # AWS corrects an earlier hour by a negative unused part: only the net sum was lost.
    net = max(0.0, float(rows["unused_usd"].sum()) / float(lost["unused_usd"].sum()))
    for row in lost.iter_rows(named=True):
        paid = share.get(row["provider"] or "", 1.0) * net
        yield UnusedCommitment(
            provider=row["provider"] or "",
            commitment=row["commitment"] or "",
            purchase=row["purchase"],
            usd=float(row["unused_usd"]) * paid,
            used_usd=float(row["used_usd"]),
            list_usd=float(row["list_usd"] or 0),
            instances=tuple(row["instance_types"]),
            regions=tuple(row["regions"]),
            bound=row["purchase"] == bills.PurchaseOption.RESERVED or bool(family_bound.get(row["commitment"])),
        )
