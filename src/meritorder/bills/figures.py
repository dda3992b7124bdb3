"""The figures that FinOps people use, from the charges of a bill; money exact, rates as Decimal.

A figure's scope is the rows that it is given: `bill.groups` for the whole bill, `inference(bill.groups)` for
the part that is inference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import polars as pl

from meritorder.bills.charges import COMMITMENTS, HOUR, MEASURES, Purchase, whole_hours
from meritorder.bills.selection import MACHINES, tag
from meritorder.domain import Tier
from meritorder.errors import BillError
from meritorder.tables import CHARGES

_USD: Final = ("billed_usd", "amortised_usd", "list_usd")

ESR_DENOMINATOR: Final = (
    "on-demand equivalent: what the machine hours bought on demand or under a commitment would have cost at "
    "list price; spot, capacity blocks, tokens, fees and taxes are left out of both sides"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was paid, and how well it was bought.

    Args:
        billed_usd: On the invoice.
        amortised_usd: With commitments spread over what they cover, unused parts included.
        on_demand_usd: Amortised cost of machines bought on demand.
        spot_usd: Amortised cost of spot machines.
        capacity_block_usd: Amortised cost of capacity blocks.
        tokens_usd: Amortised cost of token products.
        on_demand_equivalent_usd: List price of the machine hours that a commitment could cover or did.
        effective_usd: Amortised cost of the same hours after negotiated discounts, and of unused commitments.
        effective_savings_rate: 1 - effective / on-demand equivalent; None where there is nothing to compare.
        unlisted_usd: Amortised cost of such hours that the bill gives no list price for; in neither of them.
        commitment_usd: Used and unused commitments, amortised.
        used_commitment_usd: Commitments that covered something.
        unused_commitment_usd: Commitments that nothing used; negative where AWS corrects an earlier hour.
        commitment_utilisation: Used / all commitments; None without commitments.
        commitment_coverage: Share of the on-demand equivalent that commitments covered; None without any.

    Source: FinOps Foundation, KPI library, "Effective Savings Rate" and "Commitment Discount Utilization" and
        "Coverage", finops.org, read 2026-11; AWS Cost Management User Guide, "Savings Plans coverage report".
    """

    billed_usd: Decimal
    amortised_usd: Decimal
    on_demand_usd: Decimal
    spot_usd: Decimal
    capacity_block_usd: Decimal
    tokens_usd: Decimal
    on_demand_equivalent_usd: Decimal
    effective_usd: Decimal
    effective_savings_rate: Decimal | None
    unlisted_usd: Decimal
    commitment_usd: Decimal
    used_commitment_usd: Decimal
    unused_commitment_usd: Decimal
    commitment_utilisation: Decimal | None
    commitment_coverage: Decimal | None


def committed() -> pl.Expr:
    """Return whether each row belongs to a commitment."""
    return pl.col("purchase").is_in([str(purchase) for purchase in COMMITMENTS])


def eligible() -> pl.Expr:
    """Return whether each row is a commitment, or machine hours that one covers or could cover."""
    return committed() | ((pl.col("purchase") == Purchase.ON_DEMAND) & _machine())


def _machine() -> pl.Expr:
    machine = pl.col("instance_type").is_not_null() | pl.col("kind").is_in(MACHINES)
    return machine.fill_null(value=False) | pl.col("commitment").is_not_null()


def inference(groups: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that are inference."""
    return groups.filter(pl.col("kind").is_not_null())


def figures(groups: pl.DataFrame) -> Figures:
    """Return the figures of these rows.

        effective savings rate = 1 - effective / on-demand equivalent

    Args:
        groups: `Bill.groups`, or some of them.
    """
    used = eligible() & ~pl.col("unused")
    covered = committed() & ~pl.col("unused")
    unused = _sum(groups, "amortised_usd", committed() & pl.col("unused"))
    used_commitment = _sum(groups, "amortised_usd", covered)
    # A purchase of a commitment has no list price, and no amortised cost either.
    unlisted = _sum(groups, "unlisted_usd", used)
    discount = _sum(groups, "amortised_usd", _machine() & (pl.col("purchase") == Purchase.DISCOUNT))
    equivalent = _sum(groups, "list_usd", used)
    effective = _sum(groups, "amortised_usd", used) - unlisted + unused + discount
    return Figures(
        billed_usd=_sum(groups, "billed_usd"),
        amortised_usd=_sum(groups, "amortised_usd"),
        on_demand_usd=_sum(groups, "amortised_usd", eligible() & ~committed()),
        spot_usd=_sum(groups, "amortised_usd", pl.col("purchase") == Purchase.SPOT),
        capacity_block_usd=_sum(groups, "amortised_usd", pl.col("purchase") == Purchase.CAPACITY_BLOCK),
        tokens_usd=_sum(groups, "amortised_usd", pl.col("purchase") == Purchase.TOKENS),
        on_demand_equivalent_usd=equivalent,
        effective_usd=effective,
        effective_savings_rate=1 - effective / equivalent if equivalent else None,
        unlisted_usd=unlisted,
        commitment_usd=used_commitment + unused,
        used_commitment_usd=used_commitment,
        unused_commitment_usd=unused,
        commitment_utilisation=_share(used_commitment, used_commitment + unused),
        commitment_coverage=_share(_sum(groups, "list_usd", covered), equivalent),
    )


def by(groups: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Return the sums by columns of CHARGES, or by tags (`tag:team`), dearest first.

    Raises:
        BillError: There is no such column.
    """
    for name in columns:
        if not name.startswith("tag:") and name not in groups.columns:
            texts = ", ".join(column.name for column in CHARGES if column.dtype == pl.String)
            raise BillError(f"no column {name} to add up by", where="--by", fix=f"use tag:KEY or {texts}")
    keys = [tag(name.removeprefix("tag:")).alias(name) if name.startswith("tag:") else pl.col(name) for name in columns]
    sums = groups.group_by(keys).agg(pl.col(_USD).sum(), pl.col("rows").sum())
    return sums.sort("amortised_usd", *columns, descending=[True, *([False] * len(columns))])


def commitments(groups: pl.DataFrame) -> pl.DataFrame:
    """Return one row a commitment: what it cost, what was used, what was not, and what it covered."""
    used, unused = ~pl.col("unused"), pl.col("unused")
    return (
        groups.filter(committed())
        .group_by("provider", "commitment", "purchase")
        .agg(
            billed_usd=pl.col("billed_usd").sum(),
            used_usd=pl.col("amortised_usd").filter(used).sum(),
            unused_usd=pl.col("amortised_usd").filter(unused).sum(),
            list_usd=pl.col("list_usd").sum(),
            instance_types=pl.col("instance_type").filter(used).drop_nulls().unique().sort(),
            regions=pl.col("region").drop_nulls().unique().sort(),
            inference=pl.col("kind").is_not_null().any(),
        )
        .sort("unused_usd", "commitment", descending=[True, False])
    )


def token_spend(groups: pl.DataFrame) -> pl.DataFrame:
    """Return what tokens cost by model, tier and kind, and whether their tags say that they may wait.

    `usd_per_unit` is what was paid for a unit of the bill (`unit`, often 1,000 tokens); `batch_usd_per_unit`
    what the same bill paid for the same tokens at the batch tier, null where it bought none.
    """
    keys = ("provider", "model", "token_type", "unit")
    spend = (
        groups.filter(pl.col("kind") == "tokens", "priced")
        .group_by(*keys, "tier", "may_wait")
        .agg(pl.col("amortised_usd", "quantity").sum())
        .with_columns(usd_per_unit=_ratio("amortised_usd", "quantity"))
    )
    batch = (
        spend.filter(pl.col("tier") == Tier.BATCH)
        .group_by(keys)
        .agg(pl.col("amortised_usd", "quantity").sum())
        .select(*keys, batch_usd_per_unit=_ratio("amortised_usd", "quantity"))
    )
    return spend.join(batch, on=keys, how="left", nulls_equal=True).sort("amortised_usd", descending=True)


def could_wait_usd(groups: pl.DataFrame) -> Decimal:
    """Return what was paid at other tiers than batch or flex for tokens whose tags say that they may wait."""
    hasty = ~pl.col("tier").is_in([str(Tier.BATCH), str(Tier.FLEX)])
    spend = token_spend(groups).filter(pl.col("may_wait") & hasty)
    return Decimal(spend["amortised_usd"].sum() or 0)


def hourly(charges: pl.LazyFrame, *columns: str) -> pl.DataFrame:
    """Return the shape of spend: amortised dollars, list dollars and quantity of each hour.

    A charge for longer than an hour is spread evenly over its hours. These are floats: no invoice, a shape.

    Args:
        charges: `Bill.charges`, or some of them.
        columns: Columns of CHARGES to keep apart, such as `kind`, `instance_type`, `purchase`.
    """
    start, end = whole_hours()
    spans = (
        charges.group_by(*columns, start=start, end=end)
        .agg(pl.col(MEASURES).sum())
        .with_columns(pl.col(MEASURES).cast(pl.Float64))
        .collect(engine="streaming")
    )
    return _spread(spans).group_by(*columns, "hour").agg(pl.col(MEASURES).sum()).sort("hour", *columns)


def by_hour(spans: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Return the shape of spend of groups: as `hourly`, with the columns of the group.

    Args:
        spans: `Bill.spans`.
        groups: `Bill.groups`, or some of them.

    Returns:
        A row for each group, hour and `step_h`, the hours that the charges were for. `billed_usd` and the other sums of
        the groups are left out.
    """
    spread = _spread(spans.filter(pl.col("group").is_in(groups["group"].implode())))
    sums = [name for name in groups.columns if name in {*_USD, "stated_usd", "quantity", "first", "last"}]
    return spread.join(groups.drop(sums), on="group", how="inner").sort("hour", "group")


def _spread(spans: pl.DataFrame) -> pl.DataFrame:
    """Spread what is charged from `start` to `end` evenly over its hours; `step_h` is how many it had."""
    return (
        spans.with_columns(hour=pl.datetime_ranges("start", "end", HOUR, closed="left"))
        .with_columns(step_h=pl.col("hour").list.len())
        .with_columns(pl.col(MEASURES) / pl.col("step_h"))
        .explode("hour")
        .drop("start", "end")
    )


def resources(charges: pl.LazyFrame, kinds: Sequence[str] = MACHINES) -> pl.DataFrame:
    """Return one row a machine or endpoint: how many different hours it was paid for, and what it cost."""
    return (
        charges.filter(pl.col("kind").is_in(list(kinds)) & pl.col("resource").is_not_null() & ~pl.col("unused"))
        .group_by("provider", "account", "region", "service", "resource", "instance_type", "kind", "tags")
        .agg(
            hours=pl.col("period_start").dt.truncate(HOUR).n_unique(),
            quantity=pl.col("quantity").sum(),
            amortised_usd=pl.col("amortised_usd").sum(),
            list_usd=pl.col("list_usd").sum(),
            first=pl.col("period_start").min(),
            last=pl.col("period_end").max(),
        )
        .sort("amortised_usd", descending=True)
        .collect(engine="streaming")
    )


def _sum(groups: pl.DataFrame, column: str, where: pl.Expr | None = None) -> Decimal:
    rows = groups if where is None else groups.filter(where)
    return Decimal(rows[column].sum() or 0)


def _share(part: Decimal, whole: Decimal) -> Decimal | None:
    return part / whole if whole else None


def _ratio(part: str, whole: str) -> pl.Expr:
    return pl.col(part).cast(pl.Float64) / pl.when(pl.col(whole) > 0).then(whole)
