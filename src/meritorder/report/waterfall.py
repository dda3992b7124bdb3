"""A waterfall as rows from one amount to the next: its title, its amounts, and its bars drawn in characters."""

from dataclasses import dataclass
from typing import Final, Literal

from meritorder.records.comparison import Waterfall
from meritorder.report.wording import usd_cells, within_sentence

Kind = Literal["total", "saving", "extra"]
_FILL: Final[dict[Kind, str]] = {"total": "█", "saving": "▒", "extra": "▓"}
_MINUS: Final = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a waterfall, between two amounts."""

    kind: Kind
    from_usd: float
    to_usd: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One row, drawn in characters."""

    kind: Kind
    text: str


def walk(waterfall: Waterfall) -> list[Step]:
    """Return the first total, each part starting where the previous one ended, and the last total."""
    rows = [Step("total", 0.0, waterfall.from_usd)]
    running = waterfall.from_usd
    for part in waterfall.parts:
        rows.append(Step("saving" if part.usd < 0 else "extra", running, running + part.usd))
        running += part.usd
    return [*rows, Step("total", 0.0, waterfall.to_usd)]


def waterfall_title(fall: Waterfall) -> str:
    """Return the title of a waterfall whose `start` and `end` are titles."""
    start, end = within_sentence(fall.start), within_sentence(fall.end)
    if fall.to_usd == fall.from_usd:
        return f"Why {end} costs as much as {start}"
    return f"Why {end} costs {'less' if fall.to_usd < fall.from_usd else 'more'} than {start}"


def waterfall_cells(waterfall: Waterfall) -> tuple[str, ...]:
    """Format the first total, every part with its sign, and the last total: `$13,048`, `+$189`, `$4,183`."""
    parts = [part.usd for part in waterfall.parts]
    first, *sizes, last = usd_cells([waterfall.from_usd, *map(abs, parts), waterfall.to_usd])
    return (
        first,
        *(_signed(usd, size) for usd, size in zip(parts, sizes, strict=True)),
        last,
    )


def _signed(usd: float, size: str) -> str:
    """Return an amount with its sign; none if it is shown as zero."""
    if not any(digit in size for digit in "123456789"):
        return size
    return f"{_MINUS if usd < 0 else '+'}{size}"


def bars(waterfall: Waterfall, width: int) -> list[Bar]:
    """Draw the rows of a waterfall on one scale, `width` characters wide; every nonzero part is visible."""
    rows = walk(waterfall)
    ends = [usd for row in rows for usd in (row.from_usd, row.to_usd)]
    lowest, span = min(ends), max(ends) - min(ends)

    def cell(usd: float) -> int:
        return round((usd - lowest) / span * width) if span else 0

    bars = []
    for row in rows:
        left, right = sorted((cell(row.from_usd), cell(row.to_usd)))
        if left == right and row.from_usd != row.to_usd:
            left, right = (left, left + 1) if left < width else (left - 1, left)
        bars.append(Bar(row.kind, (" " * left + _FILL[row.kind] * (right - left)).ljust(width)))
    return bars
