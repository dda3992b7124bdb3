"""What a comparison shows in every form of the report: the columns of its table, its waterfalls, its sentences."""

import math
from dataclasses import dataclass
from typing import Final

import msgspec

from meritorder.comparison import Arrangement, Comparison, Waterfall
from meritorder.report.wording import or_missing, saving_sentence, usd_cells, within_sentence
from meritorder.units import format_duration, format_share

_REQUEST_COUNTS: Final = (1, 1_000, 1_000_000)
_READABLE_USD: Final = 0.01


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


def waterfalls(comparison: Comparison) -> list[Waterfall]:
    """Return the waterfalls of an answer with the titles of their arrangements for ends."""
    return [
        msgspec.structs.replace(fall, start=title_of(comparison, fall.start), end=title_of(comparison, fall.end))
        for fall in comparison.waterfall
    ]


def title_of(comparison: Comparison, name: str) -> str:
    """Return the title of the arrangement of this name."""
    return next((a.title for a in comparison.arrangements if a.name == name), name)


def saving_text(comparison: Comparison) -> str:
    """Return what is saved, against what, and how sure that is."""
    against = within_sentence(title_of(comparison, comparison.baseline))
    if comparison.saving_usd <= 0:
        return f"Nothing is cheaper than {against}."
    return saving_sentence(comparison.saving_usd, comparison.saving_share, comparison.saving_interval, against)


def ratio_text(comparison: Comparison) -> str:
    """Return how much dearer real time is than batch, and the note to it."""
    ratio = comparison.ratio_realtime_to_batch
    known = f"Real time costs {ratio:.2g} times what batch costs." if math.isfinite(ratio) and ratio > 0 else ""
    return f"{known} {comparison.ratio_note}".strip()


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
