"""What was read from which file, what was wrong with it, and a reconciliation of every dollar in it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import polars as pl

from meritorder.bills.charges import COMMITMENTS, PurchaseOption, exact
from meritorder.bills.formats import aws
from meritorder.bills.formats.by_columns import BY_COLUMNS
from meritorder.bills.repeated.duplicates import Duplicates
from meritorder.records.evidence import Assumption
from meritorder.units import SECONDS_PER_DAY

AMORTIZATION_COLUMNS: Final = {
    PurchaseOption.SAVINGS_PLAN: (*aws.SAVINGS_PLAN_COLUMNS, "EffectiveCost"),
    PurchaseOption.RESERVED: (*aws.RESERVATION_COLUMNS, "EffectiveCost"),
    PurchaseOption.COMMITTED_USE: ("EffectiveCost",),
}
"""Columns from which the cost of each kind of commitment is amortized."""

_CENT: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file of a bill.

    Args:
        name: The file as the user named it.
        label: Its name in `CHARGES.source`.
        format: Name of its format.
        title: Full name of its format.
        invoiced: Whether its amounts are those of an invoice, rather than a count of usage.
        missing: Columns that were needed and that it lacks.
        ignored: Columns that it has and that were not needed.
        notes: What is unusual about it.
        more_pages: Whether it is a page of an API that has further pages.
    """

    name: str
    label: str
    format: str
    title: str
    invoiced: bool
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...] = ()
    more_pages: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """The total of one invoice.

    Args:
        provider: Provider that issued it.
        payer: Account that pays.
        id: Its number, "" if the bill has none.
        month: Billing month as `2026-10`, "" if the bill has none.
        billed_usd: Sum of its charges.
    """

    provider: str
    payer: str
    id: str
    month: str
    billed_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class BillReport:
    """What was read, and what was wrong with it.

    `stated_usd = billed_usd + duplicates_usd + refused_usd`: every dollar in the files is accounted for.

    Args:
        files: The files.
        rows: Line items in them, unpriced usage included.
        refused_rows: Rows that could not be used.
        duplicate_rows: Copies of line items, counted once.
        negative_rows: Refunds, credits and corrections, which are counted.
        unpriced_rows: Rows that count usage without an amount.
        stated_usd: Sum of all amounts in the files.
        billed_usd: Sum of the charges.
        duplicates_usd: Sum of the copies.
        refused_usd: Sum of the amounts of refused rows, as far as they have any.
        unread_share: Share of the bill that could not be read: of its dollars, or of its rows where amounts are not
            readable; the larger of the two.
        negative_usd: Sum of refunds, credits and corrections.
        currencies: Currencies found.
        period_start: Start of the first charge.
        period_end: End of the last charge.
        invoices: Sum of each invoice.
        assumptions: What was assumed to read it, such as a rate of exchange.
        refusals: Why rows were refused, one line each.
        warnings: What else may be wrong, one line each.
    """

    files: tuple[FileReport, ...]
    rows: int
    refused_rows: int
    duplicate_rows: int
    negative_rows: int
    unpriced_rows: int
    stated_usd: Decimal
    billed_usd: Decimal
    duplicates_usd: Decimal
    refused_usd: Decimal
    unread_share: float
    negative_usd: Decimal
    currencies: tuple[str, ...]
    period_start: dt.datetime | None
    period_end: dt.datetime | None
    invoices: tuple[Invoice, ...]
    assumptions: tuple[Assumption, ...]
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that `strict` refuses, one line each."""
        return self.refusals + self.warnings

    @property
    def difference_usd(self) -> Decimal:
        """Dollars in the files that are not in the charges: copies, and amounts of refused rows."""
        return self.stated_usd - self.billed_usd

    def against_invoice(self, invoice_usd: Decimal) -> Decimal:
        """Return what was read minus the total of an invoice, in whole cents."""
        return (self.billed_usd - invoice_usd).quantize(_CENT)


def build_report(
    files: Sequence[FileReport],
    groups: pl.DataFrame,
    duplicates: Duplicates,
    twice: pl.DataFrame,
    assumptions: Sequence[Assumption],
) -> BillReport:
    """Return the report of a bill.

    Args:
        files: One record a file.
        groups: Sums of like line items, refused ones included.
        duplicates: Line items that occur more than once.
        twice: Purchases of commitments whose amortized cost is that of what they cover.
        assumptions: What was assumed to read it.
    """
    copies = duplicates.copies
    good = groups.filter(pl.col("refused").is_null())
    refused = groups.filter(pl.col("refused").is_not_null())
    billed, duplicated = _total(good, "billed_usd"), _total(copies, "billed_usd")
    unusable = _total(refused, "stated_usd")
    return BillReport(
        files=tuple(files),
        rows=_count(groups, "rows") + _count(copies, "rows"),
        refused_rows=_count(refused, "rows"),
        duplicate_rows=_count(copies, "rows"),
        negative_rows=_count(good, "negative_rows"),
        unpriced_rows=_count(good.filter(~pl.col("priced")), "rows"),
        stated_usd=billed + duplicated + unusable,
        billed_usd=billed,
        duplicates_usd=duplicated,
        refused_usd=unusable,
        unread_share=_unread_share(refused, good, unusable, billed + duplicated + unusable),
        negative_usd=_total(good, "negative_usd"),
        currencies=tuple(good["currency"].drop_nulls().str.to_uppercase().unique().sort()),
        period_start=_instant(good["first"].min()),
        period_end=_instant(good["last"].max()),
        invoices=_invoices(good),
        assumptions=tuple(assumptions),
        refusals=tuple(_refusals(refused)),
        warnings=(*_warnings(files, good, duplicates), *_purchases(twice)),
    )


def _total(frame: pl.DataFrame, column: str) -> Decimal:
    return exact(frame[column].sum())


def _count(frame: pl.DataFrame, column: str) -> int:
    return int(frame[column].sum())


def _unread_share(refused: pl.DataFrame, good: pl.DataFrame, unusable: Decimal, stated: Decimal) -> float:
    """Return the larger of the refused share of dollars and the share of rows whose amount is not readable."""
    unknown = _count(refused, "rows") - _count(refused, "stated_rows")
    by_rows = unknown / max(1, _count(good, "rows") + _count(refused, "rows"))
    return max(by_rows, float(abs(unusable) / abs(stated)) if stated else 0.0)


def _instant(value: object) -> dt.datetime | None:
    return value if isinstance(value, dt.datetime) else None


def _invoices(good: pl.DataFrame) -> tuple[Invoice, ...]:
    month = pl.col("billing_start").dt.strftime("%Y-%m")
    sums = (
        good.filter("priced")
        .group_by(pl.col("provider", "payer", "invoice").fill_null(""), month=month.fill_null(""))
        .agg(pl.col("billed_usd").sum())
        .sort("provider", "payer", "month", "invoice")
    )
    return tuple(
        Invoice(provider=provider, payer=payer, id=invoice, month=month, billed_usd=exact(billed))
        for provider, payer, invoice, month, billed in sums.rows()
    )


def _refusals(refused: pl.DataFrame) -> list[str]:
    by_reason = refused.group_by("source", "refused").agg(pl.col("rows").sum(), pl.col("first_row").min())
    return [
        f"{source}: {rows} {_plural('row', rows)} refused, {reason}; the first is row {first}"
        for source, reason, rows, first in by_reason.sort("source", "first_row").rows()
    ]


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else noun + "s"


def _warnings(files: Sequence[FileReport], good: pl.DataFrame, duplicates: Duplicates) -> list[str]:
    warnings = [f"{file.label}: {note}" for file in files for note in file.notes]
    warnings += [
        f"{source}: {rows} duplicate {_plural('line item', rows)} of {billed:.2f} USD, counted once"
        for source, rows, billed in duplicates.copies.rows()
    ]
    warnings += [
        f"{source}: {rows} {_plural('line item', rows)} of {billed:.2f} USD equal another and name no resource; "
        "they may be different machines, and are counted"
        for source, rows, billed in duplicates.alike.rows()
    ]
    if duplicates.versions:
        items = _plural("line item", duplicates.versions)
        warnings.append(
            f"{duplicates.versions} {items} again with another amount, all counted: is one file an older version?"
        )
    for name in dict.fromkeys(file.format for file in files):
        pages = [file for file in files if file.format == name]
        if pages and all(file.more_pages for file in pages):
            warnings.append(f"{pages[-1].label}: further pages are missing; fetch them and read all of them")
    warnings += [
        f"{file.label}: most rows are negative, as in a statement of payments; charges are positive"
        for file in files
        if file.format == BY_COLUMNS and _is_mostly_negative(good.filter(pl.col("source") == file.label))
    ]
    warnings += _amortization(files, good) + _effective_differs(good) + _counted_twice(files, good) + _stops_early(good)
    return warnings


def _is_mostly_negative(rows: pl.DataFrame) -> bool:
    return 2 * _count(rows, "negative_rows") > _count(rows, "rows")


def _amortization(files: Sequence[FileReport], good: pl.DataFrame) -> list[str]:
    """Warn of commitments that cannot be amortized, because the export lacks the columns for it."""
    bought = dict(good.group_by("source").agg(pl.col("purchase").unique()).rows())
    return [
        f"{file.label}: column {column} is missing, so {purchase.replace('_', ' ')} is not amortized"
        for file in files
        for purchase, columns in AMORTIZATION_COLUMNS.items()
        for column in columns
        if purchase in bought.get(file.label, ()) and column in file.missing
    ]


def _purchases(twice: pl.DataFrame) -> list[str]:
    """Warn of purchases of commitments that repeat the cost of what they cover."""
    sums = twice.group_by("source").agg(pl.col("amortised_usd").sum()).sort("source")
    return [
        f"{source}: purchases of commitments have an effective cost of {usd:.2f} USD, as has what they cover; it is "
        "counted once, where it was used"
        for source, usd in sums.rows()
    ]


def _effective_differs(good: pl.DataFrame) -> list[str]:
    """Warn of charges whose amortized cost differs from the billed cost although they are not commitments."""
    sums = (
        good.filter(~pl.col("purchase").is_in([str(purchase) for purchase in COMMITMENTS]))
        .group_by("source")
        .agg(pl.col("rows", "billed_usd", "amortised_usd").sum())
        .filter((pl.col("billed_usd") - pl.col("amortised_usd")).abs() > _CENT)
        .sort("source")
    )
    return [
        f"{source}: all but commitments were billed {billed:.2f} USD, their effective cost is {amortized:.2f}"
        for source, _, billed, amortized in sums.rows()
    ]


def _counted_twice(files: Sequence[FileReport], good: pl.DataFrame) -> list[str]:
    """Warn of money that may be in two files: a payer's month in two formats, or the log of a proxy."""
    formats = (
        good.filter(pl.col("priced") & pl.col("billing_start").is_not_null())
        .group_by("provider", "payer", "billing_start")
        .agg(pl.col("format").unique().sort())
        .filter(pl.col("format").list.len() > 1)
        .sort("provider", "payer", "billing_start")
    )
    twice = [
        f"{start:%Y-%m} of {provider} account {payer} was read as {' and '.join(names)}: it is counted twice"
        for provider, payer, start, names in formats.rows()
    ]
    if any(file.format == "litellm" for file in files) and any(file.invoiced for file in files):
        twice.append("requests in LiteLLM's logs are also charged in the bill: they are counted twice")
    return twice + _both_views(good)


def _both_views(good: pl.DataFrame) -> list[str]:
    """Warn of a month that was read from Azure's export of actual costs and from that of amortized costs."""
    cost = pl.col("billed_usd") > 0
    commitments = good.filter(
        (pl.col("format") == "azure") & pl.col("purchase").is_in([str(name) for name in COMMITMENTS])
    )
    months = (
        commitments.group_by("payer", "billing_start")
        .agg(
            bought=pl.col("source").filter(cost & pl.col("bought")).unique().sort(),
            covered=pl.col("source").filter(cost & ~pl.col("bought")).unique().sort(),
        )
        .filter((pl.col("bought").list.len() > 0) & (pl.col("covered").list.len() > 0))
        .filter(pl.col("bought").list.set_intersection("covered").list.len() == 0)
        .sort("payer", "billing_start")
    )
    return [
        f"{bought[0]} has actual costs and {covered[0]} amortized ones of the same month: it is counted twice"
        for _, _, bought, covered in months.rows()
    ]


def _stops_early(good: pl.DataFrame) -> list[str]:
    """Warn of charges that stop more than a day before the billing period: it is not over, or the file is truncated."""
    months = (
        good.filter(pl.col("billing_end").is_not_null())
        .group_by("provider", "payer", "billing_end")
        .agg(pl.col("last").max(), pl.col("source").last())
        .filter(pl.col("last") + pl.duration(seconds=SECONDS_PER_DAY) < pl.col("billing_end"))
        .sort("source", "billing_end", "last", "provider", "payer")
        .select("source", "billing_end", "last")
        .unique(maintain_order=True)
    )
    return [
        f"{source}: charges stop on {last:%Y-%m-%d %H:%M}, the billing period runs to {end:%Y-%m-%d %H:%M}"
        for source, end, last in months.rows()
    ]
