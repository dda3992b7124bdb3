"""The columns of the table of arrangements: the same words and digits in every form of the report."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from meritorder.comparison import (
    Arrangement,
    Comparison,
    Waterfall,
)
from meritorder.evidence import Interval
from meritorder.units import format_duration, format_share, format_usd

T = TypeVar("T")

MISSING: Final = "\N{EN DASH}"
_MINUS: Final = "\N{MINUS SIGN}"
_REQUEST_COUNTS: Final = (1, 1_000, 1_000_000)
_READABLE_USD: Final = 0.01
_LANE_TITLES: Final = {"realtime": "Real time", "deferrable": "Deferrable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One column, written out for every arrangement.

    Args:
        group: What it is about: `Cost`, `TTFT`.
        heading: Its name within the group.
        short: Its name on its own, as lines.
        meaning: What the number is.
        importance: The lower, the sooner it is shown where there is little room.
        cells: Text of every arrangement, in their order.
    """

    group: str
    heading: str
    short: tuple[str, ...]
    meaning: str
    importance: int
    cells: tuple[str, ...]

    @property
    def label(self) -> str:
        """Return its name in running text: `total`, `TTFT p99`."""
        return f"{self.group} {self.heading}" if self.group.isupper() else self.heading


@dataclass(frozen=True, slots=True)
class PerRequest:
    """How many requests a price is quoted for, so that it is not a row of zeros."""

    count: int

    @property
    def title(self) -> str:
        """Return `per request` or `per 1,000 requests`."""
        return "per request" if self.count == 1 else f"per {self.count:,} requests"

    @property
    def short(self) -> tuple[str, ...]:
        """Return the title as two lines."""
        return ("per", "request") if self.count == 1 else (f"per {self.count:,}", "requests")


def per_request(comparison: Comparison) -> PerRequest:
    """Choose the number of requests for which the cheapest arrangement costs at least a cent."""
    prices = [arrangement.usd_per_request for arrangement in comparison.arrangements]
    lowest = min((price for price in prices if price > 0), default=_READABLE_USD)
    return PerRequest(next((n for n in _REQUEST_COUNTS if lowest * n >= _READABLE_USD), _REQUEST_COUNTS[-1]))


def usd_cells(amounts: Sequence[float | None]) -> tuple[str, ...]:
    """Write a column of dollars with the same decimals: three digits of the smallest, none from $1,000."""
    sizes = [abs(usd) for usd in amounts if usd and math.isfinite(usd)]
    smallest, largest = min(sizes, default=0.0), max(sizes, default=0.0)
    if smallest >= 1:
        decimals = 0 if largest >= 1000 else 2
    else:
        decimals = 2 if smallest == 0 else min(6, 2 - math.floor(math.log10(smallest)))
    return tuple(MISSING if usd is None or not math.isfinite(usd) else format_usd(usd, decimals) for usd in amounts)


def waterfall_cells(waterfall: Waterfall) -> tuple[str, ...]:
    """Write the first total, every part with its sign, and the last total: `$13,048`, `+$189`, `$4,183`."""
    parts = [part.usd for part in waterfall.parts]
    first, *sizes, last = usd_cells([waterfall.from_usd, *map(abs, parts), waterfall.to_usd])
    return (
        first,
        *(f"{_MINUS if usd < 0 else '+'}{size}" for usd, size in zip(parts, sizes, strict=True)),
        last,
    )


def waterfalls(comparison: Comparison) -> list[Waterfall]:
    """Return the waterfalls of an answer with the titles of their arrangements for ends."""
    return [
        msgspec.structs.replace(fall, start=title_of(comparison, fall.start), end=title_of(comparison, fall.end))
        for fall in comparison.waterfall
    ]


def waterfall_title(fall: Waterfall) -> str:
    """Return the question that a waterfall whose ends are titles answers."""
    start, end = within_sentence(fall.start), within_sentence(fall.end)
    compared = "less" if fall.to_usd <= fall.from_usd else "more"
    return f"Why {end} costs {compared} than {start}"


def or_missing(value: T | None, write: Callable[[T], str]) -> str:
    """Write a value, or a dash if there is none."""
    return MISSING if value is None else write(value)


def title_of(comparison: Comparison, name: str) -> str:
    """Return the title of the arrangement of this name."""
    return next((a.title for a in comparison.arrangements if a.name == name), name)


def saving_text(comparison: Comparison) -> str:
    """Return what is saved, against what, and how sure that is."""
    against = within_sentence(title_of(comparison, comparison.baseline))
    if comparison.saving_usd <= 0:
        return f"Nothing is cheaper than {against}."
    return saved_text(comparison.saving_usd, comparison.saving_share, comparison.saving_interval, against)


def saved_text(saving_usd: float, saving_share: float, interval: Interval | None, against: str) -> str:
    """Return a saving and how sure it is."""
    sure = (
        f"between {format_share(interval.low)} and {format_share(interval.high)}, with {interval.basis}"
        if interval
        else "no interval was computed"
    )
    return f"Saves {format_usd(saving_usd)}, {format_share(saving_share)} of {against}: {sure}."


def times(ratio: float) -> str:
    """Write a ratio with the sign for times."""
    return f"{ratio:.2g}\N{MULTIPLICATION SIGN}" if math.isfinite(ratio) and ratio > 0 else MISSING


def ratio_text(comparison: Comparison) -> str:
    """Return how much dearer real time is than batch, and the note to it."""
    ratio = comparison.ratio_realtime_to_batch
    known = f"Real time costs {ratio:.2g} times what batch costs." if math.isfinite(ratio) and ratio > 0 else ""
    return f"{known} {comparison.ratio_note}".strip()


def lane_title(lane: str) -> str:
    """Return the title of a lane."""
    return _LANE_TITLES.get(lane, lane)


def spaced(name: str) -> str:
    """Write a name of the file in words: `capacity block`."""
    return name.replace("_", " ")


def unit_of(unit: str) -> str:
    """Write the unit of a price after its dollars: `/ hour`, `an hour`."""
    return unit.removeprefix("USD ") if unit.startswith("USD ") else f"/ {unit}"


def pricing_title(name: str) -> str:
    """Return a pricing model of the plan in words: `on demand`, `tokens, batch`."""
    return spaced(name.replace("tokens_", "tokens, ", 1))


def capital(title: str) -> str:
    """Return a title as it begins a line."""
    return title[:1].upper() + title[1:]


def within_sentence(title: str) -> str:
    """Return a title as it stands inside a sentence; an abbreviation stays one."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def metrics(comparison: Comparison) -> list[Metric]:
    """Return the columns of the table of arrangements, in the order in which they are read."""
    arrangements = comparison.arrangements
    return [*_costs(arrangements, per_request(comparison)), *_capacity(arrangements), *_latency(arrangements)]


def _costs(arrangements: list[Arrangement], unit: PerRequest) -> list[Metric]:
    return [
        Metric(
            group="Cost",
            heading="total",
            short=("", "total"),
            meaning="everything that is paid over the trace, idle and start-up time included",
            importance=0,
            cells=usd_cells([a.total_usd for a in arrangements]),
        ),
        Metric(
            group="Cost",
            heading=unit.title,
            short=unit.short,
            meaning="total cost divided by all requests",
            importance=1,
            cells=usd_cells([a.usd_per_request * unit.count for a in arrangements]),
        ),
        Metric(
            group="Cost",
            heading="per Mtok",
            short=("per", "Mtok"),
            meaning="total cost for each million tokens, input and output together",
            importance=7,
            cells=usd_cells([a.usd_per_mtok for a in arrangements]),
        ),
    ]


def _capacity(arrangements: list[Arrangement]) -> list[Metric]:
    def column(heading: str, short: tuple[str, ...], meaning: str, importance: int, cells: list[str]) -> Metric:
        return Metric(
            group="Capacity",
            heading=heading,
            short=short,
            meaning=meaning,
            importance=importance,
            cells=tuple(cells),
        )

    return [
        column(
            "utilisation",
            ("utili-", "sation"),
            "work done, of the work that the paid replicas could have done when saturated",
            2,
            [or_missing(a.utilization, format_share) for a in arrangements],
        ),
        column(
            "busy",
            ("", "busy"),
            "share of paid replica time with any request running",
            12,
            [or_missing(a.busy, format_share) for a in arrangements],
        ),
        column(
            "replica-hours",
            ("replica-", "hours"),
            "paid time of all replicas",
            8,
            [
                or_missing(a.replica_hours, lambda hours: f"{hours:,.4g}" if hours < 1000 else f"{hours:,.0f}")
                for a in arrangements
            ],
        ),
        column(
            "peak replicas",
            ("peak", "replicas"),
            "most replicas paid for at one time",
            9,
            [or_missing(a.peak_replicas, lambda n: f"{n:,}") for a in arrangements],
        ),
    ]


def _latency(arrangements: list[Arrangement]) -> list[Metric]:
    def column(group: str, heading: str, meaning: str, importance: int, seconds: list[float | None]) -> Metric:
        return Metric(
            group=group,
            heading=heading,
            short=(group, heading),
            meaning=meaning,
            importance=importance,
            cells=tuple(or_missing(s, format_duration) for s in seconds),
        )

    return [
        column("TTFT", "p50", "time to first token, median", 11, [a.ttft_p50_s for a in arrangements]),
        column(
            "TTFT",
            "p99",
            "time to first token, all but one in a hundred",
            4,
            [a.ttft_p99_s for a in arrangements],
        ),
        column("TPOT", "p99", "time per output token after the first", 6, [a.tpot_p99_s for a in arrangements]),
        column("E2E", "p50", "time to the whole answer, median", 10, [a.e2e_p50_s for a in arrangements]),
        column(
            "E2E",
            "p99",
            "time to the whole answer, all but one in a hundred",
            13,
            [a.e2e_p99_s for a in arrangements],
        ),
        Metric(
            group="Promise",
            heading="SLO kept",
            short=("SLO", "kept"),
            meaning="share of real-time requests whose first token and pace were in time",
            importance=3,
            cells=tuple(or_missing(a.slo_attainment, lambda share: format_share(share, 2)) for a in arrangements),
        ),
        Metric(
            group="Promise",
            heading="late",
            short=("", "late"),
            meaning="deferrable requests that missed their deadline",
            importance=5,
            cells=tuple(f"{a.deadlines_missed:,}" for a in arrangements),
        ),
    ]
