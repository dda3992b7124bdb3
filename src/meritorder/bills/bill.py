"""A bill: the charges of its files, their sums, and a report of what was wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from meritorder.bills import files, selection
from meritorder.bills.charges import (
    CLASSIFIED,
    COMMITMENTS,
    MEASURES,
    READER_COLUMNS,
    fingerprint,
    line_items,
    whole_hours,
)
from meritorder.bills.columns import SourceColumns
from meritorder.bills.formats import recognize_format
from meritorder.bills.report import BillReport, Duplicates, FileReport, build_report
from meritorder.errors import BillError
from meritorder.tables import CHARGES, MONEY

_GROUPED: Final = (
    *(
        "source",
        "format",
        "provider",
        "payer",
        "account",
        "invoice",
        "region",
        "service",
        "sku",
        "description",
    ),
    *(
        "instance_type",
        "purchase",
        "unused",
        "commitment",
        "unit",
        "priced",
        "tags",
        "model",
        "tier",
        "token_type",
    ),
    *("currency", "billing_start", "billing_end", "refused"),
)
_SUMMED: Final = ("quantity", "billed_usd", "amortised_usd", "list_usd", "stated_usd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """One or more bill files as one set of charges.

    Args:
        charges: The columns of `tables.CHARGES`, one row a line item; lazy, so it need not fit in memory.
        groups: The same charges summed over time and resources: few rows, in memory, with `rows`, the sums,
            `unlisted_usd` (amortized cost of rows without a list price), `first` and `last` (the period that
            they cover), and `may_wait` (whether tags or the user mark their work as deferrable). Figures that do not
            depend on time are computed from these.
        spans: The charges of each `group` summed by `start` and `end`, whole hours; in memory, as floats. Figures
            over time that do not depend on the resource are computed from these.
        report: What was read, and what was wrong with it.
    """

    charges: pl.LazyFrame
    groups: pl.DataFrame
    spans: pl.DataFrame
    report: BillReport


def read(
    sources: Sequence[str | Path] | str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the option's name
    select: Sequence[tuple[str, str]] = (),
    may_wait: Sequence[tuple[str, str]] = (),
    group_by: Sequence[str] = (),
    strict: bool = False,
) -> Bill:
    """Read a bill of one or more months from files of any known format, or from folders of them.

    Args:
        sources: Files or folders.
        format: Name of the format of all files; None to detect it by their columns.
        select: Further charges that are inference, as (column, glob) or ("tag:KEY", glob).
        may_wait: Charges whose work may wait, besides those whose tags say so, in the same form.
        group_by: Further columns of CHARGES by which `Bill.groups` are distinguished, such as `resource`.
        strict: Refuse a bill with unreadable rows, duplicates or warnings, rather than report them.

    Raises:
        BillError: A file is missing, truncated, not a bill, or not in US dollars; or, if `strict`, anything is wrong.
    """
    paths = files.find([sources] if isinstance(sources, str | Path) else sources)
    opened = [_open_file(path, label, format) for path, label in zip(paths, _labels(paths), strict=True)]
    dimensions = _dimensions([*dict(select), *dict(may_wait), *group_by])
    lines = _with_groups(pl.concat([lines for _, lines in opened]), dimensions)
    try:
        lines, duplicates = _without_duplicates(lines)
        groups, spans = _sum_lines(lines, dimensions)
    except pl.exceptions.PolarsError as error:
        where = ", ".join(path.name for path in paths[:3])
        raise BillError(f"the bill cannot be read: {str(error).splitlines()[0]}", where=where) from error
    _check_currency(groups)
    good = groups.filter(pl.col("refused").is_null())
    good = selection.classify_commitments(selection.classify(good))
    if select:
        good = good.with_columns(
            kind=pl.coalesce("kind", pl.when(selection.matches_selectors(good, select)).then(pl.lit("selected")))
        )
    patient = selection.matches_selectors(good, may_wait, option="--may-wait")
    good = good.with_columns(may_wait=selection.may_wait() | patient)
    summary = build_report([file for file, _ in opened], groups, duplicates)
    if not good.height:
        why = "none of its rows can be used" if summary.rows else "there are no charges in it"
        raise BillError(why, where=paths[0].name, fix="; ".join(summary.refusals) or None)
    if strict and summary.problems:
        raise BillError("; ".join(summary.problems), where=paths[0].name)
    return Bill(charges=_classified(lines, good), groups=good, spans=spans, report=summary)


def _labels(paths: Sequence[Path]) -> list[str]:
    """Return the name of each file, with its folder if another file has the same name."""
    names = [path.name for path in paths]
    return [path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}" for path in paths]


def _open_file(path: Path, label: str, name: str | None) -> tuple[FileReport, pl.LazyFrame]:
    """Open one file and turn its rows into line items."""
    source = files.load(path)
    known = recognize_format(source, name)
    raw = known.prepare(source.frame)
    fields = SourceColumns(raw.collect_schema())
    columns = dict(known.columns(fields))
    columns |= {
        "source": pl.lit(label),
        "row": pl.col("row"),
        "format": pl.lit(known.name),
    }
    columns |= _hashes(fields, columns, known.identity(fields))
    file = FileReport(
        path=path,
        label=label,
        format=known.name,
        title=known.title(source.columns),
        invoiced=known.invoiced,
        missing=tuple(fields.missing),
        ignored=tuple(sorted(set(fields.schema) - fields.used - {"row"})),
        notes=source.notes,
        more_pages=source.more_pages,
    )
    return file, line_items(raw, columns)


def _hashes(fields: SourceColumns, columns: dict[str, pl.Expr], identity: list[pl.Expr] | None) -> dict[str, pl.Expr]:
    """Return hashes that are equal for the same line item and for copies of the same line.

    If the provider identifies its line items, a copy has the same identity and amounts; else every column is the same.
    """
    if identity is not None:
        compared = ("period_start", "resource", "quantity", "billed_usd", "amortised_usd")
        return {
            "item_hash": fingerprint(identity),
            "line_hash": fingerprint([*identity, *(columns[name] for name in compared)]),
        }
    names = [name for name, dtype in fields.schema.items() if name != "row" and not dtype.is_nested()]
    # A map of tags cannot be hashed; as text it can.
    tags = [columns["tags"]] if "tags" in columns else []
    return {"line_hash": fingerprint([*map(pl.col, names), *tags])}


def _with_groups(lines: pl.LazyFrame, dimensions: Sequence[str]) -> pl.LazyFrame:
    """Add `group`, equal for line items that differ only in time, resource and amount."""
    return lines.with_columns(group=fingerprint(map(pl.col, dimensions)))


def _dimensions(named: Sequence[str]) -> list[str]:
    """Return the columns by which groups are distinguished, including those that the user names."""
    known = {column.name for column in CHARGES if column.dtype == pl.String} - set(CLASSIFIED)
    return [
        *_GROUPED,
        *(name for name in dict.fromkeys(named) if name in known and name not in _GROUPED),
    ]


def _without_duplicates(lines: pl.LazyFrame) -> tuple[pl.LazyFrame, Duplicates]:
    """Return each line once, and the duplicates."""
    counted = lines.filter(pl.col("refused").is_null())
    size = counted.select(
        rows=pl.len(),
        lines=pl.col("line_hash").n_unique(),
        identified_lines=pl.col("line_hash").filter(pl.col("item_hash").is_not_null()).n_unique(),
        items=pl.col("item_hash").drop_nulls().n_unique(),
    ).collect(engine="streaming")
    [(rows, distinct, identified, items)] = size.rows()
    none = pl.DataFrame(schema={"source": pl.String, "rows": pl.UInt32, "billed_usd": MONEY})
    if rows == distinct:
        return lines, Duplicates(copies=none, versions=identified - items)
    repeated = counted.group_by("line_hash").len().filter(pl.col("len") > 1).collect(engine="streaming")
    place = fingerprint(map(pl.col, ("source", "row", "line_hash")))
    copied = (
        lines.filter(pl.col("line_hash").is_in(repeated["line_hash"].implode()))
        .select("source", "line_hash", "billed_usd", place=place)
        .collect(engine="streaming")
        .filter(~pl.col("line_hash").is_first_distinct())
    )
    copies = copied.group_by("source").agg(rows=pl.len(), billed_usd=pl.col("billed_usd").sum()).sort("source")
    once = lines.filter(~place.is_in(copied["place"].implode()))
    return once, Duplicates(copies=copies, versions=identified - items)


def _sum_lines(lines: pl.LazyFrame, dimensions: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the sums of each group, and those of each group and period, in one pass over the lines."""
    negative = (pl.col("billed_usd") < 0) & ~pl.col("purchase").is_in(COMMITMENTS)
    start, end = whole_hours()
    spans = (
        lines.group_by("group", start=start, end=end)
        .agg(
            pl.col(dimensions).first(),
            pl.col(_SUMMED).sum(),
            rows=pl.len(),
            first_row=pl.col("row").min(),
            first=pl.col("period_start").min(),
            last=pl.col("period_end").max(),
            unlisted_usd=pl.col("amortised_usd").filter(pl.col("list_usd").is_null()).sum(),
            negative_rows=negative.sum(),
            negative_usd=pl.col("billed_usd").filter(negative).sum(),
        )
        .collect(engine="streaming")
    )
    groups = (
        spans.group_by("group")
        .agg(
            pl.col(dimensions).first(),
            pl.col(*_SUMMED, "rows", "unlisted_usd", "negative_rows", "negative_usd").sum(),
            pl.col("first_row", "first").min(),
            pl.col("last").max(),
        )
        .sort("source", "first_row")
    )
    return groups, spans.select("group", "start", "end", pl.col(MEASURES).cast(pl.Float64))


def _classified(lines: pl.LazyFrame, groups: pl.DataFrame) -> pl.LazyFrame:
    """Return CHARGES: line items with the classification of their group, without refused ones."""
    classification = groups.lazy().select("group", *selection.COMPLETED)
    reader_columns = [column.name for column in READER_COLUMNS if column.name not in selection.COMPLETED]
    return (
        lines.select("group", *reader_columns)
        .join(classification, on="group", how="inner")
        .select(column.name for column in CHARGES)
    )


def _check_currency(groups: pl.DataFrame) -> None:
    """Refuse a bill in more than one currency, or in another than the US dollar."""
    by_currency = (
        groups.filter(pl.col("currency").is_not_null())
        .group_by(pl.col("currency").str.to_uppercase())
        .agg(pl.col("rows").sum())
        .sort("rows", descending=True)
        .rows()
    )
    listed = ", ".join(f"{currency} in {rows} row{'s' if rows != 1 else ''}" for currency, rows in by_currency)
    where = groups["source"].item(0) if groups.height else None
    if len(by_currency) > 1:
        raise BillError(
            f"the bill mixes currencies: {listed}", where=where, fix="read the bills of each currency separately"
        )
    for currency, _ in by_currency:
        if currency != "USD":
            raise BillError(f"the bill is in {currency}, not in USD", where=where, fix="export it in US dollars")
