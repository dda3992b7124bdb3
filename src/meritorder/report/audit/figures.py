"""The figures of the page as shapes: the waterfall of findings, and spend over time by purchase option."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meritorder.records.findings import Audit, SpendOverTime
from meritorder.report.audit.words import KINDS, PURCHASES
from meritorder.units import SECONDS_PER_DAY, format_usd, utc

COLORS: Final = {
    "on_demand": "realtime",
    "spot": "deferrable",
    "savings_plan": "saving",
    "reserved": "savings",
    "committed_use": "extra",
    "capacity_block": "startup",
    "tokens": "total",
    "unused": "lost",
}
"""Color of the palette by purchase option; any other is drawn as `idle`."""

WIDTH: Final = 1000
HEIGHT: Final = 220
_OTHER: Final = "idle"
_ORDER: Final = ("unused", "reserved", "savings_plan", "committed_use", "capacity_block", "spot", "tokens", "on_demand")


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingBar:
    """One bar of the waterfall, in percent of what is paid."""

    title: str
    usd: str
    start: float
    width: float
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """One purchase option over time, stacked on those below it."""

    title: str
    color: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A label on an axis, and its position."""

    text: str
    at: float


def waterfall(audit: Audit) -> list[FindingBar]:
    """Return what is paid, what each kind of finding takes from it, and what is left."""
    paid = float(audit.inference_usd) / audit.bill.months
    if paid <= 0 or not audit.findings:
        return []
    sums: dict[str, float] = {}
    for finding in audit.findings:
        sums[finding.kind] = sums.get(finding.kind, 0.0) + finding.usd_per_month
    bars = [FindingBar(title="Paid", usd=format_usd(paid), start=0.0, width=100.0, color="total")]
    running = paid
    for kind, usd in sorted(sums.items(), key=lambda item: -item[1]):
        running -= usd
        start, width = 100 * max(0.0, running) / paid, 100 * usd / paid
        bars.append(
            FindingBar(
                title=KINDS[kind], usd=f"\N{MINUS SIGN}{format_usd(usd)}", start=start, width=width, color="saving"
            )
        )
    left = FindingBar(
        title="Needed", usd=format_usd(running), start=0.0, width=100 * max(0.0, running) / paid, color="total"
    )
    return [*bars, left]


def areas(shape: SpendOverTime) -> list[Area]:
    """Return spend over time as stacked areas: commitments at the bottom, what is bought as needed on top."""
    names = sorted(shape.usd, key=lambda name: _ORDER.index(name) if name in _ORDER else -1)
    bins = max(len(values) for values in shape.usd.values())
    highest = peak(shape)
    below = [0.0] * bins
    stacked = []
    for name in names:
        above = [low + max(0.0, usd) for low, usd in zip(below, shape.usd[name], strict=True)]
        path = _outline(above, below, highest)
        stacked.append(Area(title=PURCHASES.get(name, name), color=COLORS.get(name, _OTHER), path=path))
        below = above
    return stacked


def peak(shape: SpendOverTime) -> float:
    """Return the dollars of the most expensive bin."""
    totals = [sum(max(0.0, usd) for usd in column) for column in zip(*shape.usd.values(), strict=True)]
    return max(totals, default=0.0) or 1.0


def _outline(above: Sequence[float], below: Sequence[float], highest: float) -> str:
    """Return the outline of an area as an SVG path, along its top and back along its bottom."""
    step = WIDTH / len(above)

    def corners(values: Sequence[float], place: int) -> list[str]:
        y = HEIGHT * (1 - values[place] / highest)
        return [f"{place * step:.1f} {y:.1f}", f"{(place + 1) * step:.1f} {y:.1f}"]

    places = range(len(above))
    top = [corner for place in places for corner in corners(above, place)]
    bottom = [corner for place in reversed(places) for corner in reversed(corners(below, place))]
    return f"M{' L'.join([*top, *bottom])}Z"


def days(shape: SpendOverTime) -> list[Tick]:
    """Return labels for up to eight days along the time axis."""
    bins = len(next(iter(shape.usd.values())))
    span_s = bins * shape.bin_s
    count = max(1, round(span_s / SECONDS_PER_DAY))
    every = -(-count // 8) * SECONDS_PER_DAY
    first = -shape.start_epoch_s % SECONDS_PER_DAY
    found, at = [], first
    while at < span_s:
        found.append(Tick(text=f"{utc(shape.start_epoch_s + at):%d %b}", at=WIDTH * at / span_s))
        at += every
    return found
