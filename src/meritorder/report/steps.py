"""A waterfall as rows of characters: each part hangs where the one before it ended."""

from dataclasses import dataclass
from typing import Final, Literal

from meritorder.comparison import Waterfall

Kind = Literal["total", "saving", "extra"]
_FILL: Final[dict[Kind, str]] = {"total": "█", "saving": "▒", "extra": "▓"}


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a waterfall, between two amounts of money."""

    kind: Kind
    from_usd: float
    to_usd: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One row, drawn."""

    kind: Kind
    text: str


def walk(waterfall: Waterfall) -> list[Step]:
    """Return the first total, every part from where the last one ended, and the last total."""
    rows = [Step("total", 0.0, waterfall.from_usd)]
    running = waterfall.from_usd
    for part in waterfall.parts:
        rows.append(Step("saving" if part.usd < 0 else "extra", running, running + part.usd))
        running += part.usd
    return [*rows, Step("total", 0.0, waterfall.to_usd)]


def steps(waterfall: Waterfall, width: int) -> list[Bar]:
    """Draw every row of a waterfall on one scale, `width` characters wide; no part is too small to see."""
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
