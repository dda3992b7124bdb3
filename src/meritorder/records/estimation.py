"""The answer of `estimate`: what traffic in a few numbers, or one job, costs in every way to serve it.

Plain records, written to JSON as they are. `SCHEMA` changes when a field changes its meaning or is removed.
"""

from typing import Final

import msgspec

from meritorder.records.comparison import Comparison
from meritorder.records.evidence import Assumption, Interval, PriceUsed

SCHEMA: Final = "meritorder.estimate/1"


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way to serve the requests.

    `usd` is for a month of traffic, or for the whole job. `finished_s` counts from now; null where nobody promises it.
    `in_time` is whether every SLO and deadline is kept; null where it is not known. `usd_range` is what a job costs in
    nine of ten measurements of such machines, and `finished_range_s` when it is done; null where none is known.
    """

    name: str
    title: str
    where: str
    usd: float
    usd_per_request: float
    finished_s: float | None = None
    in_time: bool | None = None
    certainty: str = ""
    usd_interval: Interval | None = None
    note: str = ""
    usd_range: tuple[float, float] | None = None
    finished_range_s: tuple[float, float] | None = None


class PatiencePoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a month costs if the share that can wait has this long, on machines and as tokens; null without one."""

    share: float
    patience_s: float
    machines_usd: float | None
    tokens_usd: float | None


class TrafficSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was estimated: `simulated_share` of the rate, over `simulated_days` that passed at `simulated_pace`."""

    requests: float
    requests_per_day: float | None
    input_tokens: float
    output_tokens: float
    peak_to_mean_hour: float | None = None
    simulated_days: float | None = None
    simulated_share: float = 1.0
    simulated_pace: float = 1.0
    by_s: float | None = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer; `period` is "month" or "job"."""

    model: str
    period: str
    traffic: TrafficSummary
    sentence: str
    ways: list[Way]
    best: str
    patience: list[PatiencePoint] = []
    break_even_requests_per_day: float | None = None
    break_even_note: str = ""
    assumptions: list[Assumption] = []
    prices: list[PriceUsed] = []
    warnings: list[str] = []
    commands: list[str] = []
    comparison: Comparison | None = None
    schema: str = SCHEMA
