"""The part of the answer that summarizes the bill: months, commitments, breakdowns, spend over time, what was read."""

from decimal import Decimal
from typing import Final

import polars as pl

from meritorder import bills
from meritorder.bills.charges import exact
from meritorder.records.findings import BillRead, Breakdown, CommitmentUse, InvoiceRead, Spend, SpendOverTime
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_HOUR

_MAX_BINS: Final = 400
_MAX_SPENDS: Final = 20
_UNNAMED: Final = "(not named)"
_OTHERS: Final = "(others)"
_ALWAYS: Final = ("kind", "purchase")
_DAYS_PER_MONTH: Final = 30.4


def months(bill: bills.Bill) -> float:
    """Return the months of a bill, at least 1: its billing months, or its length if it names none.

    Nothing is extrapolated: for a bill of half a month, a month is that half.
    """
    groups = bills.select_inference(bill.groups)
    named = groups["billing_start"].drop_nulls().dt.strftime("%Y-%m").n_unique()
    if named:
        return float(named)
    report = bill.report
    if report.period_start is None or report.period_end is None:
        return 1.0
    days = (report.period_end - report.period_start).total_seconds() / SECONDS_PER_HOUR / HOURS_PER_DAY
    return max(1.0, round(days / _DAYS_PER_MONTH, 1))


def commitments(groups: pl.DataFrame) -> list[CommitmentUse]:
    """Return every commitment that inference uses, the one with the largest unused part first."""
    uses = []
    for row in bills.sum_commitments(groups).iter_rows(named=True):
        used, unused = exact(row["used_usd"]), exact(row["unused_usd"])
        uses.append(
            CommitmentUse(
                provider=row["provider"] or "",
                commitment=row["commitment"] or _UNNAMED,
                purchase=row["purchase"],
                usd=used + unused,
                used_usd=used,
                unused_usd=unused,
                utilization=bills.ratio(used, used + unused),
                list_usd=exact(row["list_usd"]),
                instances=list(row["instance_types"]),
            )
        )
    return uses


def breakdowns(groups: pl.DataFrame, by: tuple[str, ...]) -> list[Breakdown]:
    """Return the cost of inference by kind, by purchase option, and by what the user names."""
    return [_breakdown(groups, name) for name in dict.fromkeys((*_ALWAYS, *by))]


def _breakdown(groups: pl.DataFrame, by: str) -> Breakdown:
    rows = bills.sum_by(groups, by).select(by, "amortised_usd").rows()
    sums = [(name or _UNNAMED, exact(usd)) for name, usd in rows]
    if len(sums) > _MAX_SPENDS:
        rest = sum((usd for _, usd in sums[_MAX_SPENDS - 1 :]), Decimal(0))
        sums = [*sums[: _MAX_SPENDS - 1], (f"{_OTHERS}, {len(sums) - _MAX_SPENDS + 1}", rest)]
    total = float(sum(usd for _, usd in sums)) or 1.0
    return Breakdown(by=by, spends=[Spend(name=name, usd=usd, share=float(usd) / total) for name, usd in sums])


def spend_over_time(by_hour: pl.DataFrame) -> SpendOverTime | None:
    """Return the cost of inference over time by purchase option; None if all of it falls into one hour.

    Args:
        by_hour: The inference charges by the hour, from `bills.hourly_groups`.
    """
    paid = pl.when("unused").then(pl.lit("unused")).otherwise("purchase")
    hourly = by_hour.filter(pl.col("amortised_usd") != 0).group_by("hour", paid=paid).agg(pl.col("amortised_usd").sum())
    if hourly["hour"].n_unique() < 2:
        return None
    first, last = hourly["hour"].min(), hourly["hour"].max()
    hours = int((last - first).total_seconds() // SECONDS_PER_HOUR) + 1  # type: ignore[operator, union-attr]
    widths = (1, 3, 6, HOURS_PER_DAY, 7 * HOURS_PER_DAY, hours)
    width = next(width for width in widths if hours <= width * _MAX_BINS)
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
    return SpendOverTime(bin_s=width * SECONDS_PER_HOUR, start_epoch_s=start, usd=columns)


def bill_read(bill: bills.Bill, months: float) -> BillRead:
    """Return what was read, and what was wrong with it."""
    report = bill.report
    return BillRead(
        files=[file.label for file in report.files],
        formats=list(dict.fromkeys(file.title for file in report.files)),
        rows=report.rows,
        refused_rows=report.refused_rows,
        duplicate_rows=report.duplicate_rows,
        negative_rows=report.negative_rows,
        negative_usd=report.negative_usd,
        stated_usd=report.stated_usd,
        difference_usd=report.difference_usd,
        period_start=report.period_start.isoformat() if report.period_start else "",
        period_end=report.period_end.isoformat() if report.period_end else "",
        months=months,
        invoices=[
            InvoiceRead(
                provider=invoice.provider,
                payer=invoice.payer,
                id=invoice.id,
                month=invoice.month,
                billed_usd=invoice.billed_usd,
            )
            for invoice in report.invoices
        ],
        problems=list(report.problems),
        unread_share=report.unread_share,
        unpriced_rows=report.unpriced_rows,
        tax_usd=exact(bill.groups.filter(pl.col("purchase") == bills.PurchaseOption.TAX)["billed_usd"].sum()),
    )
