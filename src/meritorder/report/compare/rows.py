"""What every form of a comparison shows: the columns of the table, the waterfalls and the sentences."""

import math
from dataclasses import dataclass
from typing import Final

import msgspec

from meritorder.records.comparison import Arrangement, Comparison, Waterfall
from meritorder.report.wording import MISSING, or_missing, range_cells, saving_sentence, usd_cells, within_sentence
from meritorder.units import format_duration, format_ratio, format_share

_REQUEST_COUNTS: Final = (1, 1_000, 1_000_000)
_READABLE_USD: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One column of the table of arrangements, as text.

    Args:
        group: Group of columns: `Cost`, `TTFT`.
        heading: Its name within the group.
        short: Its name without the group, as lines.
        meaning: What the number is.
        importance: Columns with low numbers are shown first where space is short.
        cells: Text for each arrangement, in order.
    """

    group: str
    heading: str
    short: tuple[str, ...]
    meaning: str
    importance: int
    cells: tuple[str, ...]

    @property
    def label(self) -> str:
        """Return the name in running text: `total`, `TTFT p99`."""
        return f"{self.group} {self.heading}" if self.group.isupper() else self.heading


@dataclass(frozen=True, slots=True)
class PerRequest:
    """The number of requests that a price is quoted for, so that it has significant digits."""

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


def served(comparison: Comparison) -> str:
    """Return the model and what serves it: machines, or tokens only."""
    return f"{comparison.model} on {comparison.hardware}" if comparison.hardware else f"{comparison.model} as tokens"


def waterfalls(comparison: Comparison) -> list[Waterfall]:
    """Return the waterfalls of a comparison, with titles of arrangements for `start` and `end`."""
    return [
        msgspec.structs.replace(fall, start=title_of(comparison, fall.start), end=title_of(comparison, fall.end))
        for fall in comparison.waterfall
    ]


def title_of(comparison: Comparison, name: str) -> str:
    """Return the title of the arrangement of this name."""
    return next((arrangement.title for arrangement in comparison.arrangements if arrangement.name == name), name)


def saving_text(comparison: Comparison) -> str:
    """Return the saving, the baseline and the interval as a sentence."""
    against = within_sentence(title_of(comparison, comparison.baseline))
    if comparison.saving_usd <= 0:
        return f"Nothing is cheaper than {against}."
    return saving_sentence(comparison.saving_usd, comparison.saving_share, comparison.saving_interval, against)


def ratio_text(comparison: Comparison) -> str:
    """Return the ratio of real time to batch and its note as sentences."""
    ratio = comparison.ratio_realtime_to_batch
    known = _ratio_sentence(ratio) if math.isfinite(ratio) and ratio > 0 else ""
    return f"{known} {comparison.ratio_note}".strip()


def _ratio_sentence(ratio: float) -> str:
    times = format_ratio(max(ratio, 1 / ratio))
    if times == "1.0":
        return "Real time costs about what batch costs."
    first, second = ("Real time", "batch") if ratio > 1 else ("Batch", "real time")
    return f"{first} costs {times} times what {second} costs."


def metrics(comparison: Comparison) -> list[Metric]:
    """Return the columns of the table of arrangements, in order."""
    arrangements = comparison.arrangements
    return [*_costs(arrangements, per_request(comparison)), *_capacity(arrangements), *_latency(arrangements)]


def _costs(arrangements: list[Arrangement], unit: PerRequest) -> list[Metric]:
    return [
        Metric(
            group="Cost",
            heading="total",
            short=("", "total"),
            meaning="everything paid over the trace, including idle and start-up time",
            importance=0,
            cells=usd_cells([arrangement.total_usd for arrangement in arrangements]),
        ),
        Metric(
            group="Cost",
            heading="80 % range",
            short=("80 %", "range"),
            meaning="where the total is in eight of ten cases, by the errors of speed on servers that no fit has seen",
            importance=14,
            cells=range_cells([arrangement.usd_interval for arrangement in arrangements]),
        ),
        Metric(
            group="Cost",
            heading=unit.title,
            short=unit.short,
            meaning="total cost divided by all requests",
            importance=1,
            cells=usd_cells([arrangement.usd_per_request * unit.count for arrangement in arrangements]),
        ),
        Metric(
            group="Cost",
            heading="per Mtok",
            short=("per", "Mtok"),
            meaning="total cost for each million tokens, input and output together",
            importance=7,
            cells=usd_cells([arrangement.usd_per_mtok for arrangement in arrangements]),
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
            "utilization",
            ("utili-", "zation"),
            "work done over the work that the paid replicas could have done when saturated",
            2,
            [or_missing(arrangement.utilization, format_share) for arrangement in arrangements],
        ),
        column(
            "busy",
            ("", "busy"),
            "share of paid replica time with any request running",
            12,
            [or_missing(arrangement.busy, format_share) for arrangement in arrangements],
        ),
        column(
            "replica-hours",
            ("replica-", "hours"),
            "paid time of all replicas",
            8,
            [
                or_missing(
                    arrangement.replica_hours, lambda hours: f"{hours:,.4g}" if hours < 1000 else f"{hours:,.0f}"
                )
                for arrangement in arrangements
            ],
        ),
        column(
            "peak replicas",
            ("peak", "replicas"),
            "largest number of replicas paid for at one time",
            9,
            [or_missing(arrangement.peak_replicas, lambda n: f"{n:,}") for arrangement in arrangements],
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
            cells=tuple(or_missing(value, format_duration) for value in seconds),
        )

    return [
        column(
            "TTFT", "p50", "time to first token, median", 11, [arrangement.ttft_p50_s for arrangement in arrangements]
        ),
        column(
            "TTFT",
            "p99",
            "time to first token, 99th percentile",
            4,
            [arrangement.ttft_p99_s for arrangement in arrangements],
        ),
        column(
            "TPOT",
            "p99",
            "time per output token after the first, 99th percentile",
            6,
            [arrangement.tpot_p99_s for arrangement in arrangements],
        ),
        column(
            "E2E", "p50", "time to the last token, median", 10, [arrangement.e2e_p50_s for arrangement in arrangements]
        ),
        column(
            "E2E",
            "p99",
            "time to the last token, 99th percentile",
            13,
            [arrangement.e2e_p99_s for arrangement in arrangements],
        ),
        Metric(
            group="SLO and deadlines",
            heading="SLO met",
            short=("SLO", "met"),
            meaning="share of real-time requests that met both limits of their SLO",
            importance=3,
            cells=tuple(
                or_missing(arrangement.slo_attainment, lambda share: format_share(share, 2))
                for arrangement in arrangements
            ),
        ),
        Metric(
            group="SLO and deadlines",
            heading="late",
            short=("", "late"),
            meaning="deferrable requests that missed their deadline",
            importance=5,
            cells=tuple(
                MISSING if arrangement.e2e_p50_s is None else f"{arrangement.deadlines_missed:,}"
                for arrangement in arrangements
            ),
        ),
    ]
