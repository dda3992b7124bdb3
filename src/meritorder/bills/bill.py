"""A bill: the charges of its files, their sums, and a report of what was wrong with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import polars as pl

from meritorder.bills import currency, files, selection
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
from meritorder.bills.repeated import duplicates, totals
from meritorder.bills.report import BillReport, FileReport, build_report
from meritorder.errors import BillError
from meritorder.inputs.places import ScratchFolder
from meritorder.inputs.unpacking import READ_ERRORS
from meritorder.records.evidence import Assumption
from meritorder.tables import CHARGES
from meritorder.units import format_share

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
        "bought",
        "named_for_training",
        "unit",
        "priced",
        "tags",
        "model",
        "tier",
        "token_type",
    ),
    *("currency", "billing_start", "billing_end", "refused"),
)
_MOST_UNREAD: Final = 0.01
"""Largest share of a bill that may be unreadable without `partial`."""

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
        scratch: Unpacked and remote files, kept as long as the bill.
    """

    charges: pl.LazyFrame
    groups: pl.DataFrame
    spans: pl.DataFrame
    report: BillReport
    scratch: ScratchFolder | None = None


def read(
    sources: Sequence[str | Path | files.SourceFile] | str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the option's name
    columns: Mapping[str, str] | None = None,
    select: Sequence[tuple[str, str]] = (),
    may_wait: Sequence[tuple[str, str]] = (),
    group_by: Sequence[str] = (),
    rates: Mapping[str, Decimal] | None = None,
    partial: bool = False,
    strict: bool = False,
) -> Bill:
    """Read a bill of one or more months from files of any known format, or from folders of them.

    Args:
        sources: Paths, globs, folders, URLs of `s3://`, `gs://`, `az://` or `https://`, or `-` for standard input; or
            tables that are already open, as of `bills.accounts`.
        format: Name of the format of all files; None to detect it by their columns.
        columns: Columns of files in no known format, by the names of `formats.by_columns.FIELDS`: start, cost, ...
        select: Further charges that are inference, as (column, glob) or ("tag:KEY", glob).
        may_wait: Charges whose work may wait, besides those whose tags say so, in the same form.
        group_by: Further columns of CHARGES by which `Bill.groups` are distinguished, such as `resource`.
        rates: US dollars for one unit of another currency, by its ISO code.
        partial: Read a bill of which more than 1 % cannot be read.
        strict: Refuse a bill with unreadable rows, duplicates or warnings, rather than report them.

    Raises:
        BillError: A file is missing, truncated, not a bill, or in a currency without a rate; more than 1 % of it cannot
            be read, unless `partial`; or, if `strict`, anything is wrong.
    """
    reader = _Reader(
        format=format,
        columns=columns or {},
        rates={name.upper(): usd for name, usd in (rates or {}).items()},
        dimensions=tuple(_dimensions([*dict(select), *dict(may_wait), *group_by])),
    )
    scratch = ScratchFolder()
    named = [sources] if isinstance(sources, str | Path) else sources
    content = reader.read(_opened(named, scratch))
    lines, groups, spans = content.lines, content.groups, content.spans
    currency.check(groups)
    twice = duplicates.purchases_counted_at_use(groups)
    lines, spans = duplicates.without_amortized_cost(lines, twice), duplicates.without_amortized_cost(spans, twice)
    groups = duplicates.without_amortized_cost(groups, twice)
    good = _classify(groups.filter(pl.col("refused").is_null()), select, may_wait)
    assumed = [*content.assumptions, *currency.assumed(reader.rates), *selection.excluded(good)]
    summary = build_report(content.files, groups, content.repeated, twice, assumed)
    _check(summary, good, partial=partial, strict=strict)
    return Bill(charges=_classified(lines, good), groups=good, spans=spans, report=summary, scratch=scratch)


def _opened(
    named: Sequence[str | Path | files.SourceFile], scratch: ScratchFolder
) -> list[tuple[str, files.SourceFile]]:
    """Return the files that are named, opened, and the tables that already are, each with its name."""
    tables = [source for source in named if isinstance(source, files.SourceFile)]
    paths = [source for source in named if not isinstance(source, files.SourceFile)]
    located = files.find(paths, scratch) if paths or not tables else []
    return [
        *((file.name, files.load(file, scratch)) for file in located),
        *((table.name, table) for table in tables),
    ]


def _classify(
    groups: pl.DataFrame, select: Sequence[tuple[str, str]], may_wait: Sequence[tuple[str, str]]
) -> pl.DataFrame:
    """Return groups with their classification by the rules and by what the user selects."""
    good = selection.classify_commitments(selection.classify(groups))
    if select:
        good = good.with_columns(
            kind=pl.coalesce("kind", pl.when(selection.matches_selectors(good, select)).then(pl.lit("selected")))
        )
    patient = selection.matches_selectors(good, may_wait, option="--may-wait")
    return good.with_columns(may_wait=selection.may_wait() | patient)


def _check(report: BillReport, good: pl.DataFrame, *, partial: bool, strict: bool) -> None:
    """Refuse a bill that cannot be used as a whole."""
    where = report.files[0].label
    if not good.height:
        why = "none of its rows can be used" if report.rows else "there are no charges in it"
        raise BillError(why, where=where, fix="; ".join(report.refusals) or None)
    if strict and report.problems:
        raise BillError("; ".join(report.problems), where=where)
    if report.unread_share > _MOST_UNREAD and not partial:
        raise BillError(
            f"{format_share(report.unread_share)} of the bill cannot be read: {'; '.join(report.refusals)}",
            where=where if len(report.files) == 1 else None,
            fix="correct these rows, or audit the rest with --partial",
        )


def _labels(paths: Sequence[Path]) -> list[str]:
    """Return the name of each file, with its folder if another file has the same name."""
    names = [path.name for path in paths]
    return [path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}" for path in paths]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What files hold: their line items without copies, and the sums of these."""

    files: tuple[FileReport, ...]
    lines: pl.LazyFrame
    repeated: duplicates.Duplicates
    groups: pl.DataFrame
    spans: pl.DataFrame
    assumptions: tuple[Assumption, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Reads files of one bill; the fields are those of `read`, and the columns by which groups are distinguished."""

    format: str | None
    columns: Mapping[str, str]
    rates: Mapping[str, Decimal]
    dimensions: tuple[str, ...]

    def read(self, sources: Sequence[tuple[str, files.SourceFile]]) -> _Content:
        """Read files; those with unreadable rows or totals again, by how their columns as a whole are written."""
        content = self._read(sources, frozenset())
        refused = content.groups.filter(pl.col("refused").is_not_null() | pl.col("odd"))
        again = frozenset([*refused["source"], *totals.suspected(content.groups)])
        return self._read(sources, again) if again else content

    def _read(self, sources: Sequence[tuple[str, files.SourceFile]], whole: frozenset[str]) -> _Content:
        labels = _labels([Path(name) for name, _ in sources])
        try:
            opened = [
                self._open(name, source, label, whole=label in whole)
                for (name, source), label in zip(sources, labels, strict=True)
            ]
            lines, left_out = totals.without_totals(pl.concat([lines for _, lines, _ in opened]), sorted(whole))
            lines = _with_groups(lines, self.dimensions)
            lines, repeated = duplicates.without_copies(lines)
            groups, spans = _sum_lines(lines, self.dimensions)
        except READ_ERRORS as error:
            where = ", ".join(labels[:3])
            raise BillError(f"the bill cannot be read: {str(error).splitlines()[0]}", where=where) from error
        notes = dict.fromkeys(note for _, _, assumptions in opened for note in assumptions)
        return _Content(
            files=tuple(file for file, _, _ in opened),
            lines=lines,
            repeated=repeated,
            groups=groups,
            spans=spans,
            assumptions=(*(Assumption(text=note) for note in notes), *left_out),
        )

    def _open(
        self, name: str, source: files.SourceFile, label: str, *, whole: bool
    ) -> tuple[FileReport, pl.LazyFrame, Sequence[str]]:
        """Open one file, and return its rows as line items and what was assumed of its columns."""
        known = recognize_format(source, self.format, self.columns)
        raw = known.prepare(source.frame)
        fields = SourceColumns(raw.collect_schema(), table=raw, where=label, whole=whole)
        columns = currency.in_dollars(dict(known.columns(fields)), self.rates)
        columns |= {
            "source": pl.lit(label),
            "row": pl.col("row"),
            "format": pl.lit(known.name),
            "odd": fields.has_odd_number(),
        }
        if whole:
            columns |= totals.marks(fields.schema)
        if "resource" in columns:
            columns["named_for_training"] = selection.named_for_training(columns["resource"])
        columns |= duplicates.hashes(fields, columns, known.identity(fields))
        file = FileReport(
            name=name,
            label=label,
            format=known.name,
            title=known.title(source.columns),
            invoiced=known.invoiced,
            missing=tuple(fields.missing),
            ignored=tuple(sorted(set(fields.schema) - fields.used - {"row"})),
            notes=source.notes,
            more_pages=source.more_pages,
        )
        return file, line_items(raw, columns), (*source.assumptions, *fields.assumptions)


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
            stated_rows=pl.col("stated_usd").count(),
            first_row=pl.col("row").min(),
            first=pl.col("period_start").min(),
            last=pl.col("period_end").max(),
            unlisted_usd=pl.col("amortised_usd").filter(pl.col("list_usd").is_null()).sum(),
            odd=pl.col("odd").any(),
            largest_usd=pl.col("stated_usd").max(),
            negative_rows=negative.sum(),
            negative_usd=pl.col("billed_usd").filter(negative).sum(),
        )
        .collect(engine="streaming")
    )
    groups = (
        spans.group_by("group")
        .agg(
            pl.col(dimensions).first(),
            pl.col(*_SUMMED, "rows", "stated_rows", "unlisted_usd", "negative_rows", "negative_usd").sum(),
            pl.col("first_row", "first").min(),
            pl.col("last", "largest_usd").max(),
            pl.col("odd").any(),
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
