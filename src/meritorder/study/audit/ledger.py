"""What is paid and can still be saved: findings take dollars out of it, each of them once.

    paid = what is left after all findings + the findings

Each finding replaces machines, tokens or commitments by cheaper ones; what it is worth is the difference, so no dollar
is in two of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from meritorder import bills
from meritorder.domain import Tier
from meritorder.findings import Confidence, Finding, Kind
from meritorder.study.audit.pools import Fleet, Pool, paid_share

_LEAST_USD = 0.01
"""A finding below a cent is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of one model and kind at one tier.

    Args:
        provider: Who sells them.
        model: The bill's name of the model, "" where it has none.
        token_type: input, cached_input, cache_write or output; "" where the bill does not say.
        tier: Service tier.
        unit: What the quantity counts.
        may_wait: Whether tags say that they may wait.
        quantity: How much was bought.
        usd: What it cost.
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
    def hasty(self) -> bool:
        """Whether they were answered at once."""
        return self.tier not in {Tier.BATCH, Tier.FLEX}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """The part of a commitment that nothing used.

    Args:
        provider: Who sold it.
        commitment: Its name.
        purchase: What it is.
        usd: What the unused part cost.
        used_usd: What the used part cost.
        list_usd: What the used part would have cost on demand.
        instances: Machines that it covered.
        regions: Where.
        bound: Whether it covers one kind of machine only.
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
    """All that findings can be about.

    Args:
        fleet: Machine hours, None if the bill has none.
        tokens: Tokens bought.
        unused: Commitments with an unused part.
        months: Months of the bill.
    """

    fleet: Fleet | None
    tokens: tuple[Tokens, ...]
    unused: tuple[Unused, ...]
    months: float

    @property
    def usd(self) -> float:
        """What is left to be paid."""
        pools = sum(pool.usd for pool in self.pools)
        return pools + sum(each.usd for each in self.tokens) + sum(each.usd for each in self.unused)

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The machines."""
        return self.fleet.pools if self.fleet else ()

    def with_pools(self, pools: Iterable[Pool]) -> "Ledger":
        """Return the ledger with other machines."""
        return replace(self, fleet=replace(self.fleet, pools=tuple(pools))) if self.fleet else self

    def finding(
        self,
        kind: Kind,
        *,
        usd: float,
        title: str,
        confidence: Confidence,
        evidence: str,
        fix: str,
        where: str,
    ) -> Finding:
        """Write down what was saved."""
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


Step = tuple[Ledger, list[Finding]]
"""What a kind of finding returns: the ledger without what it found, and what it found."""


def worth_telling(usd: float) -> bool:
    """Return whether an amount is at least a cent."""
    return usd >= _LEAST_USD


def open_ledger(bill: bills.Bill, fleet: Fleet | None, months: float) -> Ledger:
    """Return all that findings can be about, at what was paid for it."""
    inference = bills.inference(bill.groups)
    share = paid_share(inference)
    return Ledger(
        fleet=fleet, tokens=tuple(_tokens(inference, share)), unused=tuple(_unused(inference, share)), months=months
    )


def _tokens(inference: pl.DataFrame, share: dict[str, float]) -> Iterable[Tokens]:
    spend = bills.token_spend(inference.filter(pl.col("purchase") == bills.Purchase.TOKENS))
    for row in spend.filter(pl.col("amortised_usd") > 0).iter_rows(named=True):
        paid = share.get(row["provider"] or "", 1.0)
        yield Tokens(
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


def _unused(inference: pl.DataFrame, share: dict[str, float]) -> Iterable[Unused]:
    skus = pl.concat_str("sku", "description", ignore_nulls=True)
    tied = dict(
        inference.filter(pl.col("commitment").is_not_null())
        .group_by("commitment")
        .agg((skus.str.contains(r"(?i)EC2(Instance)?[ _-]?(SP|SavingsPlans?)\b|EC2SP:")).any())
        .rows()
    )
    rows = bills.commitments(inference)
    unused = rows["unused_usd"].cast(pl.Float64).to_numpy()
    gained = np.maximum(unused, 0.0).sum()
    # Where AWS corrects an earlier hour, an unused part is negative: all together is what was lost.
    net = max(0.0, float(unused.sum())) / gained if gained > 0 else 0.0
    for row in rows.filter(pl.col("unused_usd") > 0).iter_rows(named=True):
        paid = share.get(row["provider"] or "", 1.0) * net
        yield Unused(
            provider=row["provider"] or "",
            commitment=row["commitment"] or "",
            purchase=row["purchase"],
            usd=float(row["unused_usd"]) * paid,
            used_usd=float(row["used_usd"]),
            list_usd=float(row["list_usd"] or 0),
            instances=tuple(row["instance_types"]),
            regions=tuple(row["regions"]),
            bound=row["purchase"] == bills.Purchase.RESERVED or bool(tied.get(row["commitment"])),
        )
