"""Rows of a bill that sum up others, as spreadsheets and invoices have them, and rows that are no charge at all."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

import polars as pl

from meritorder.bills.charges import exact
from meritorder.inputs.summaries import SAYS_TOTAL
from meritorder.records.evidence import Assumption
from meritorder.units import format_usd

_ONLY: Final = (
    r"(?i)^\W*(?:[\w.-]+[ -])?(?:sub|grand)?[ -]?totals?\W*$|summe|gesamt|^\W*(?:totale?|totaux|somme|suma)\W*$|計|计"
    r"|^\W*(?-i:(?:[A-Z][a-z]+)+Totals?)\W*$"
)
"""A row with a time may be the total of others if a cell says nothing else; products are named "Total Bytes" too."""

_NAMES: Final = ("account", "service", "sku", "description", "instance_type", "model")

_NUMBER: Final = r"^[\s$€£(+-]*\d[\d.,'\s]*[\s$€£%)]*$|^[A-Z]{3}$|^$"
_DATE: Final = r"\d[./-]\d{1,2}[./-]\d"
"""What cells of a total hold: numbers that are no dates, and the code of a currency."""

CENT: Final = Decimal("0.01")
HALF_CENT: Final = Decimal("0.005")
ROUNDED: Final = Decimal("0.001")
_LEVELS: Final = (2, 3, 4)
"""Charges, and up to three levels of totals: of accounts, of statements, of all."""
_NEAR_TOTALS: Final = 32
"""Totals across which the rows of another one are searched for, besides all as far as the file's start or end."""
_MAX_DATED: Final = 1000
"""More rows with a time whose texts say total are charges: a product is named so."""


class _Candidate(NamedTuple):
    """A row that may be no charge: what it says, whether it has a time and any text at all, and its amount."""

    row: int
    says: str | None
    dated: bool
    blank: bool
    amount: Decimal | None

    def is_sum(self, block: "_Block") -> bool:
        """Return whether it is the sum of charges; of two at least, and not rounded, if it may be a charge as well."""
        if self.amount is None:
            return False
        if self.says and not self.dated:
            return _is_sum(self.amount, block)
        least = 1 if self.says else 2
        return block.rows >= least and self.amount != 0 and abs(self.amount - block.usd) <= abs(self.amount) * ROUNDED


class _Block(NamedTuple):
    """The charges between two candidates."""

    rows: int
    usd: Decimal


def suspected(groups: pl.DataFrame) -> list[str]:
    """Return the files that may have totals: by a row without time, by a text, or by the size of the largest amount.

    That is half of all if it is their total, and a third or fourth if there are totals of parts too.

    Args:
        groups: Sums of like line items, with the largest amount of each.
    """
    largest, total = pl.col("largest_usd").max(), pl.col("stated_usd").sum()
    is_total = pl.any_horizontal([(levels * largest - total).abs() <= levels * CENT for levels in _LEVELS])
    says = pl.any_horizontal(pl.col(_NAMES).str.contains(SAYS_TOTAL).fill_null(value=False))
    by_file = groups.group_by("source").agg(
        suspected=says.any() | pl.col("first").is_null().any() | (is_total & (pl.col("rows").sum() > 2))
    )
    return by_file.filter("suspected")["source"].sort().to_list()


def marks(schema: pl.Schema) -> dict[str, pl.Expr]:
    """Return what the cells of each row tell about its being a charge, as columns of `charges.REPORT_COLUMNS`."""
    cells = [pl.col(name).str.strip_chars() for name, dtype in schema.items() if dtype == pl.String]
    if not cells:
        return {}
    return {
        "says_total": pl.coalesce([pl.when(cell.str.contains(SAYS_TOTAL)).then(cell) for cell in cells]),
        "has_words": pl.any_horizontal(
            [(~cell.str.contains(_NUMBER) | cell.str.contains(_DATE)).fill_null(value=False) for cell in cells]
        ),
        "filled_cells": pl.sum_horizontal([(cell != "").fill_null(value=False).cast(pl.UInt32) for cell in cells]),
    }


def without_totals(lines: pl.LazyFrame, sources: Sequence[str]) -> tuple[pl.LazyFrame, tuple[Assumption, ...]]:
    """Return line items without rows that sum up others, empty rows and notes; and what was left out.

    A row is a total if it says so, or has only numbers, and its amount is the sum of rows that adjoin it: as far as the
    start or the end of the file, or another total. If one is the sum of all, others that say so are sums of parts. One
    that says so, has no time and is no such sum is refused.

    Args:
        lines: Line items with the columns of `marks`.
        sources: Labels of the files in which to look for totals.
    """
    assumptions: list[Assumption] = []
    for source in sources:
        own = pl.col("source") == source
        candidates = _candidates(lines.filter(own))
        blocks = _blocks(lines.filter(own), candidates)
        sums = _sums(candidates, blocks)
        dated = {candidate.row for candidate in candidates if candidate.dated} - {total.row for total in sums}
        if dated:
            candidates = [candidate for candidate in candidates if candidate.row not in dated]
            blocks = _blocks(lines.filter(own), candidates)
            sums = _sums(candidates, blocks)
        notes = [candidate for candidate in candidates if candidate.amount is None]
        if sums or notes:
            lines = lines.filter(~(own & pl.col("row").is_in([candidate.row for candidate in (*sums, *notes)])))
        for row, reason in _unequal(candidates, sums, blocks):
            is_row = own & (pl.col("row") == row)
            lines = lines.with_columns(refused=pl.when(is_row).then(pl.lit(reason)).otherwise("refused"))
        assumptions += [Assumption(text=text) for text in _left_out(source, sums, notes)]
    return lines, tuple(assumptions)


def _candidates(lines: pl.LazyFrame) -> list[_Candidate]:
    """Return the rows of a file that may be no charges, in order."""
    undated, unpaid, says = pl.col("period_start").is_null(), pl.col("stated_usd").is_null(), pl.col("says_total")
    note = undated & unpaid & ((pl.col("filled_cells") <= 1) | says.is_not_null())
    total = ~unpaid & pl.when(undated).then(says.is_not_null() | ~pl.col("has_words")).otherwise(
        says.str.contains(_ONLY)
    )
    rows = (
        lines.filter(note | total)
        .group_by("row")
        .agg(
            says.first(),
            dated=(~undated).any(),
            blank=pl.col("filled_cells").first() == 0,
            amount=pl.col("stated_usd").sum(),
            paid=(~unpaid).any(),
        )
        .collect(engine="streaming")
        .sort("row")
    )
    if rows["dated"].sum() > _MAX_DATED:
        rows = rows.filter(~pl.col("dated"))
    amount = pl.when("paid").then("amount")
    return list(map(_Candidate._make, rows.select("row", "says_total", "dated", "blank", amount).iter_rows()))


def _blocks(lines: pl.LazyFrame, candidates: Sequence[_Candidate]) -> list[_Block]:
    """Return the charges before the first candidate, between them, and after the last one."""
    rows = pl.Series([candidate.row for candidate in candidates], dtype=pl.UInt32)
    sums = (
        lines.filter(~pl.col("row").is_in(rows.implode()) & pl.col("period_start").is_not_null())
        .group_by(block=pl.lit(rows).search_sorted(pl.col("row")))
        .agg(pl.len(), pl.col("stated_usd").sum())
        .collect(engine="streaming")
    )
    by_place = {place: _Block(count, exact(usd)) for place, count, usd in sums.iter_rows()}
    return [by_place.get(place, _Block(0, Decimal(0))) for place in range(len(candidates) + 1)]


def _sums(candidates: Sequence[_Candidate], blocks: Sequence[_Block]) -> list[_Candidate]:
    """Return the candidates that are sums of charges: of those which adjoin them, or of some if another is that of all.

    Those that have a time, or do not say that they are totals, are exact sums.
    """
    everything = _Block(sum(block.rows for block in blocks), sum((block.usd for block in blocks), Decimal(0)))
    sums = [
        candidate
        for place, candidate in enumerate(candidates)
        if any(candidate.is_sum(block) for block in _adjoining(blocks, place))
    ]
    if not any(_is_sum(total.amount or Decimal(0), everything) for total in sums):
        return sums
    return [
        candidate
        for candidate in candidates
        if candidate in sums
        or (
            candidate.says is not None
            and not candidate.dated
            and candidate.amount is not None
            and abs(candidate.amount) <= abs(everything.usd)
        )
    ]


def _adjoining(blocks: Sequence[_Block], place: int) -> Iterator[_Block]:
    """Yield the charges that a total may sum up: above it or below it, as far as another total or the file's end."""
    for side in (blocks[place::-1], blocks[place + 1 :], blocks):
        rows, usd = 0, Decimal(0)
        for distance, block in enumerate(side, start=1):
            rows, usd = rows + block.rows, usd + block.usd
            if rows and (distance <= _NEAR_TOTALS or distance == len(side)):
                yield _Block(rows, usd)


def _is_sum(amount: Decimal, block: _Block) -> bool:
    """Return whether an amount is the sum of charges, each of which may be rounded to a cent."""
    rounding = min(block.rows * HALF_CENT, abs(amount) * ROUNDED)
    return abs(amount - block.usd) <= max(CENT, rounding)


def _unequal(
    candidates: Sequence[_Candidate], sums: Sequence[_Candidate], blocks: Sequence[_Block]
) -> Iterator[tuple[int, str]]:
    """Yield the rows without time that say total and are no sum, and why they are refused."""
    above = Decimal(0)
    for candidate, block in zip(candidates, blocks, strict=False):
        above += block.usd
        if candidate.says and candidate.amount is not None and not candidate.dated and candidate not in sums:
            total = f"which says {candidate.says!r} of {format_usd(candidate.amount, 2)}"
            yield candidate.row, f"{total}, but all rows above it are {format_usd(above, 2)}"


def _left_out(source: str, sums: Sequence[_Candidate], notes: Sequence[_Candidate]) -> Iterator[str]:
    """Yield what was left out of a file, a sentence each."""
    if sums:
        said = f" ({sums[0].says})" if sums[0].says else ""
        first = f"row {sums[0].row}{said}, {format_usd(sums[0].amount or 0, 2)},"
        yield (
            f"{source}: {first} is the sum of others, and is not counted again"
            if len(sums) == 1
            else f"{source}: {len(sums)} rows, such as {first} are sums of others, and are not counted again"
        )
    written = [note.row for note in notes if not note.blank]
    if written:
        rows = f"row {written[0]}" if len(written) == 1 else f"{len(written)} rows, such as row {written[0]},"
        yield f"{source}: {rows} without time and amount left out"
