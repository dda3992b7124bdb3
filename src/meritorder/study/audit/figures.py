"""The figures of the bill, as the answer holds them."""

from decimal import Decimal
from typing import Final

import polars as pl

from meritorder import bills
from meritorder.findings import BillRead, Breakdown, CommitmentUse, Figures, InvoiceRead, Shape, Spend
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_HOUR

_MOST_BINS: Final = 400
_MOST_SPENDS: Final = 20
_UNNAMED: Final = "(not named)"
_OTHERS: Final = "(others)"
_ALWAYS: Final = ("kind", "purchase")


def figures(groups: pl.DataFrame) -> Figures:
    """Return the figures of these rows, as numbers."""
    made = bills.figures(groups)
    return Figures(
        billed_usd=float(made.billed_usd),
        amortised_usd=float(made.amortised_usd),
        on_demand_usd=float(made.on_demand_usd),
        spot_usd=float(made.spot_usd),
        capacity_block_usd=float(made.capacity_block_usd),
        tokens_usd=float(made.tokens_usd),
        on_demand_equivalent_usd=float(made.on_demand_equivalent_usd),
        effective_usd=float(made.effective_usd),
        effective_savings_rate=_rate(made.effective_savings_rate),
        unlisted_usd=float(made.unlisted_usd),
        commitment_usd=float(made.commitment_usd),
        used_commitment_usd=float(made.used_commitment_usd),
        unused_commitment_usd=float(made.unused_commitment_usd),
        commitment_utilization=_rate(made.commitment_utilisation),
        commitment_coverage=_rate(made.commitment_coverage),
    )


def _rate(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def months(bill: bills.Bill) -> float:
    """Return the months of a bill, at least 1: its billing months, or its length where it names none.

    Nothing is extrapolated: of a bill of half a month, a month is that half.
    """
    groups = bills.inference(bill.groups)
    named = groups["billing_start"].drop_nulls().dt.strftime("%Y-%m").n_unique()
    if named:
        return float(named)
    report = bill.report
    if report.period_start is None or report.period_end is None:
        return 1.0
    days = (report.period_end - report.period_start).total_seconds() / SECONDS_PER_HOUR / HOURS_PER_DAY
    return max(1.0, round(days / 30.4, 1))


def commitments(groups: pl.DataFrame) -> list[CommitmentUse]:
    """Return every commitment that inference uses, the least used dollars last."""
    found = []
    for row in bills.commitments(groups).iter_rows(named=True):
        usd = row["used_usd"] + row["unused_usd"]
        found.append(
            CommitmentUse(
                provider=row["provider"] or "",
                commitment=row["commitment"] or _UNNAMED,
                purchase=row["purchase"],
                usd=float(usd),
                used_usd=float(row["used_usd"]),
                unused_usd=float(row["unused_usd"]),
                utilization=float(row["used_usd"] / usd) if usd else None,
                list_usd=float(row["list_usd"] or 0),
                instances=list(row["instance_types"]),
            )
        )
    return found


def breakdowns(groups: pl.DataFrame, by: tuple[str, ...]) -> list[Breakdown]:
    """Return dollars of inference by kind, by purchase, and by what the user names."""
    return [_breakdown(groups, name) for name in dict.fromkeys((*_ALWAYS, *by))]


def _breakdown(groups: pl.DataFrame, name: str) -> Breakdown:
    sums = [(row[0] or _UNNAMED, float(row[1])) for row in bills.by(groups, name).select(name, "amortised_usd").rows()]
    if len(sums) > _MOST_SPENDS:
        rest = sum(usd for _, usd in sums[_MOST_SPENDS - 1 :])
        sums = [*sums[: _MOST_SPENDS - 1], (f"{_OTHERS}, {len(sums) - _MOST_SPENDS + 1}", rest)]
    total = sum(usd for _, usd in sums) or 1.0
    return Breakdown(by=name, spends=[Spend(name=each, usd=usd, share=usd / total) for each, usd in sums])


def shape(by_hour: pl.DataFrame) -> Shape | None:
    """Return the dollars of inference over time, by how they were paid; None if they all fall in one hour.

    Args:
        by_hour: The inference charges by the hour, as `bills.by_hour` makes them.
    """
    paid = pl.when("unused").then(pl.lit("unused")).otherwise("purchase")
    hourly = by_hour.filter(pl.col("amortised_usd") != 0).group_by("hour", paid=paid).agg(pl.col("amortised_usd").sum())
    first, last = hourly["hour"].min(), hourly["hour"].max()
    if first is None or last is None or first == last:
        return None
    hours = int((last - first).total_seconds() // SECONDS_PER_HOUR) + 1  # type: ignore[operator, union-attr]
    width = next(each for each in (1, 3, 6, HOURS_PER_DAY, 7 * HOURS_PER_DAY, hours) if hours <= each * _MOST_BINS)
    bins = -(-hours // width)
    placed = hourly.with_columns(at=(pl.col("hour") - first).dt.total_hours() // width)
    sums = placed.group_by("paid", "at").agg(pl.col("amortised_usd").sum())
    columns: dict[str, list[float]] = {}
    for (name,), rows in sums.sort("paid", "at").group_by("paid", maintain_order=True):
        values = [0.0] * bins
        for at, usd in rows.select("at", "amortised_usd").rows():
            values[at] = round(usd or 0.0, 6)
        columns[str(name)] = values
    start = first.timestamp()  # type: ignore[union-attr]
    return Shape(bin_s=width * SECONDS_PER_HOUR, start_epoch_s=start, usd=columns)


def read(bill: bills.Bill, months: float) -> BillRead:
    """Return what was read, and what was wrong with it."""
    report = bill.report
    return BillRead(
        files=[file.label for file in report.files],
        formats=list(dict.fromkeys(file.title for file in report.files)),
        rows=report.rows,
        refused_rows=report.refused_rows,
        duplicate_rows=report.duplicate_rows,
        negative_rows=report.negative_rows,
        negative_usd=float(report.negative_usd),
        stated_usd=float(report.stated_usd),
        difference_usd=float(report.difference_usd),
        period_start=report.period_start.isoformat() if report.period_start else "",
        period_end=report.period_end.isoformat() if report.period_end else "",
        months=months,
        invoices=[
            InvoiceRead(
                provider=each.provider,
                payer=each.payer,
                id=each.id,
                month=each.month,
                billed_usd=float(each.billed_usd),
            )
            for each in report.invoices
        ],
        problems=list(report.problems),
    )
