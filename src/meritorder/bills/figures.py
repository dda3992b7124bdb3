"""FinOps figures of a bill: sums are exact, rates are ratios of exact sums.

The scope of a figure is the rows that it is computed from: `bill.groups` for the whole bill,
`select_inference(bill.groups)` for its inference.
"""

from decimal import Decimal
from typing import Final

import polars as pl

from meritorder.bills.charges import COMMITMENTS, HOUR, MEASURES, PurchaseOption, exact, whole_hours
from meritorder.bills.selection import MACHINES, THROUGHPUT, tag
from meritorder.domain import Tier
from meritorder.errors import BillError
from meritorder.records.findings import BillFigures
from meritorder.tables import CHARGES

_USD: Final = ("billed_usd", "amortised_usd", "list_usd")


def committed() -> pl.Expr:
    """Return whether each row belongs to a commitment."""
    return pl.col("purchase").is_in([str(purchase) for purchase in COMMITMENTS])


def eligible() -> pl.Expr:
    """Return whether each row is a commitment, or machine hours that one covers or could cover."""
    machines = committed() | ((pl.col("purchase") == PurchaseOption.ON_DEMAND) & _machine())
    return machines & pl.col("kind").ne_missing(THROUGHPUT)


def _machine() -> pl.Expr:
    machine = pl.col("instance_type").is_not_null() | pl.col("kind").is_in(MACHINES)
    return machine.fill_null(value=False) | pl.col("commitment").is_not_null()


def select_inference(groups: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that are inference."""
    return groups.filter(pl.col("kind").is_not_null())


def compute_figures(groups: pl.DataFrame) -> BillFigures:
    """Return the FinOps figures of these rows.

        effective savings rate = 1 - effective / on-demand equivalent

    Args:
        groups: `Bill.groups`, or some of them.
    """
    amortized = pl.col("amortised_usd")
    used = eligible() & ~pl.col("unused")
    covered = used & committed()
    sums = groups.select(
        billed=pl.col("billed_usd").sum(),
        amortized=amortized.sum(),
        on_demand=amortized.filter(eligible() & ~committed()).sum(),
        spot=amortized.filter(pl.col("purchase") == PurchaseOption.SPOT).sum(),
        capacity_block=amortized.filter(pl.col("purchase") == PurchaseOption.CAPACITY_BLOCK).sum(),
        tokens=amortized.filter(pl.col("purchase") == PurchaseOption.TOKENS).sum(),
        discount=amortized.filter(_machine() & (pl.col("purchase") == PurchaseOption.DISCOUNT)).sum(),
        used=amortized.filter(used).sum(),
        used_commitment=amortized.filter(covered).sum(),
        unused_commitment=amortized.filter(eligible() & committed() & pl.col("unused")).sum(),
        # The purchase of a commitment has no list price and no amortized cost.
        unlisted=pl.col("unlisted_usd").filter(used).sum(),
        equivalent=pl.col("list_usd").filter(used).sum(),
        covered=pl.col("list_usd").filter(covered).sum(),
    )
    usd = {name: exact(amount) for name, amount in sums.row(0, named=True).items()}
    equivalent, commitment = usd["equivalent"], usd["used_commitment"] + usd["unused_commitment"]
    effective = usd["used"] - usd["unlisted"] + usd["unused_commitment"] + usd["discount"]
    return BillFigures(
        billed_usd=usd["billed"],
        amortised_usd=usd["amortized"],
        on_demand_usd=usd["on_demand"],
        spot_usd=usd["spot"],
        capacity_block_usd=usd["capacity_block"],
        tokens_usd=usd["tokens"],
        on_demand_equivalent_usd=equivalent,
        effective_usd=effective,
        effective_savings_rate=exact(1 - effective / equivalent) if equivalent else None,
        unlisted_usd=usd["unlisted"],
        commitment_usd=commitment,
        used_commitment_usd=usd["used_commitment"],
        unused_commitment_usd=usd["unused_commitment"],
        commitment_utilization=ratio(usd["used_commitment"], commitment),
        commitment_coverage=ratio(usd["covered"], equivalent),
    )


def ratio(part: Decimal, whole: Decimal) -> Decimal | None:
    """Return part / whole, None if the whole is zero."""
    return exact(part / whole) if whole else None


def sum_by(groups: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Return the sums by columns of CHARGES or by tags (`tag:team`), largest amortized cost first.

    Raises:
        BillError: There is no such column.
    """
    for name in columns:
        if not name.startswith("tag:") and name not in groups.columns:
            texts = ", ".join(column.name for column in CHARGES if column.dtype == pl.String)
            raise BillError(f"no column {name} to break costs down by", where="--by", fix=f"use tag:KEY or {texts}")
    keys = [tag(name.removeprefix("tag:")).alias(name) if name.startswith("tag:") else pl.col(name) for name in columns]
    sums = groups.group_by(keys).agg(pl.col(_USD).sum(), pl.col("rows").sum())
    return sums.sort("amortised_usd", *columns, descending=[True, *([False] * len(columns))])


def sum_commitments(groups: pl.DataFrame) -> pl.DataFrame:
    """Return one row a commitment: its cost, the used and unused parts of it, and what it covered."""
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


def sum_tokens(groups: pl.DataFrame) -> pl.DataFrame:
    """Return the cost of tokens by model, token type, tier, and whether they may wait.

    `usd_per_unit` is the price of one `unit` of the bill, often 1,000 tokens; `batch_usd_per_unit` is the same bill's
    price of such tokens at the batch tier, null if it bought none.
    """
    keys = ("provider", "model", "token_type", "unit")
    spend = (
        groups.filter(pl.col("kind") == "tokens", "priced")
        .group_by(*keys, "tier", "may_wait")
        .agg(pl.col("amortised_usd", "quantity").sum())
        .with_columns(usd_per_unit=_unit_price("amortised_usd", "quantity"))
    )
    batch = (
        spend.filter(pl.col("tier") == Tier.BATCH)
        .group_by(keys)
        .agg(pl.col("amortised_usd", "quantity").sum())
        .select(*keys, batch_usd_per_unit=_unit_price("amortised_usd", "quantity"))
    )
    return spend.join(batch, on=keys, how="left", nulls_equal=True).sort("amortised_usd", descending=True)


def _unit_price(usd: str, quantity: str) -> pl.Expr:
    return pl.col(usd).cast(pl.Float64) / pl.when(pl.col(quantity) > 0).then(quantity)


def hourly_charges(charges: pl.LazyFrame, *columns: str) -> pl.DataFrame:
    """Return amortized cost, list cost and quantity of each hour, as floats.

    A charge for longer than an hour is spread evenly over its hours.

    Args:
        charges: `Bill.charges`, or some of them.
        columns: Columns of CHARGES to group by, such as `kind`, `instance_type`, `purchase`.
    """
    start, end = whole_hours()
    spans = (
        charges.group_by(*columns, start=start, end=end)
        .agg(pl.col(MEASURES).sum())
        .with_columns(pl.col(MEASURES).cast(pl.Float64))
        .collect(engine="streaming")
    )
    return _spread(spans).group_by(*columns, "hour").agg(pl.col(MEASURES).sum()).sort("hour", *columns)


def hourly_groups(spans: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Return amortized cost, list cost and quantity of each group and hour, as floats, with the group's columns.

    Args:
        spans: `Bill.spans`.
        groups: `Bill.groups`, or some of them.

    Returns:
        A row for each group, hour and `step_h`, the length in hours of the charges. `billed_usd` and the other sums of
        the groups are left out.
    """
    spread = _spread(spans.filter(pl.col("group").is_in(groups["group"].implode())))
    sums = [name for name in groups.columns if name in {*_USD, "stated_usd", "quantity", "first", "last"}]
    return spread.join(groups.drop(sums), on="group", how="inner").sort("hour", "group")


def _spread(spans: pl.DataFrame) -> pl.DataFrame:
    """Spread charges evenly over the hours from `start` to `end`; `step_h` is the number of these hours."""
    return (
        spans.with_columns(hour=pl.datetime_ranges("start", "end", HOUR, closed="left"))
        .with_columns(step_h=pl.col("hour").list.len())
        .with_columns(pl.col(MEASURES) / pl.col("step_h"))
        .explode("hour")
        .drop("start", "end")
    )
