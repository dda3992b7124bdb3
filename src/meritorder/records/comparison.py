"""The answer of `compare`: what real time, batch and a mix cost, why they differ, and the interval of the saving.

Plain records, written to JSON as they are. `SCHEMA` changes when a field changes its meaning or is removed.
"""

from typing import Final

import msgspec

from meritorder.records.evidence import Assumption, Interval, PriceUsed, UnservableRequests
from meritorder.records.planproof import Credit

SCHEMA: Final = "meritorder.compare/1"
TITLES: Final = {
    "realtime_fixed": "Real time, always on",
    "realtime_autoscaled": "Real time, autoscaled",
    "realtime_serverless": "Real time, serverless",
    "batch": "Batch",
    "mix": "Mix",
}
"""The title of each arrangement of machines."""
SHADOW_SCHEMA: Final = "meritorder.shadow/1"


class TraceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The trace as read. Times in seconds, rates per second; `start_epoch_s` is null if the start is unknown."""

    files: list[str]
    format: str
    requests: int
    span_s: float
    mean_rate_per_s: float
    peak_to_mean_hour: float | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    bad_rows: int
    failed_rows: int
    estimated_tokens: bool
    start_epoch_s: float | None = None


class LaneCost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost allocated to a lane: to real time what its fleet would cost alone, to deferrable the increment."""

    lane: str
    requests: int
    total_usd: float
    usd_per_request: float | None
    average_usd_per_request: float | None


class PaidTime(msgspec.Struct, frozen=True, kw_only=True):
    """Paid replica time by use; the parts add up to the replica-hours."""

    realtime_s: float = 0.0
    deferrable_s: float = 0.0
    startup_s: float = 0.0
    idle_s: float = 0.0
    lost_s: float = 0.0


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """Load and capacity over time, one value per bin. Loads are in replicas at work.

    `start_s` counts from the start of the trace.
    """

    bin_s: float
    start_s: list[float]
    realtime_load: list[float]
    deferrable_load: list[float]
    capacity: list[float]


class Arrangement(msgspec.Struct, frozen=True, kw_only=True):
    """One way to serve the trace. A figure that it does not have is null."""

    name: str
    title: str
    feasible: bool
    total_usd: float
    usd_per_request: float
    usd_per_mtok: float
    usd_interval: Interval | None = None
    utilization: float | None = None
    busy: float | None = None
    replica_hours: float | None = None
    peak_replicas: int | None = None
    ttft_p50_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p99_s: float | None = None
    e2e_p50_s: float | None = None
    e2e_p99_s: float | None = None
    slo_attainment: float | None = None
    deadlines_missed: int = 0
    lanes: list[LaneCost] = []
    paid_time: PaidTime | None = None
    replica: str = ""
    engine_version: str = ""
    venue: str = ""
    notes: list[str] = []
    timeline: Timeline | None = None


class WaterfallPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a difference in cost; negative dollars are a saving."""

    name: str
    title: str
    usd: float
    why: str


class Waterfall(msgspec.Struct, frozen=True, kw_only=True):
    """The difference between two arrangements: `from_usd` plus all parts is `to_usd`."""

    start: str
    end: str
    from_usd: float
    to_usd: float
    parts: list[WaterfallPart]


class FrontierPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One simulated fleet: its cost and latency."""

    arrangement: str
    label: str
    usd_per_request: float
    ttft_p99_s: float | None
    e2e_p50_s: float
    keeps_promise: bool


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    trace: TraceSummary
    model: str
    hardware: str
    assumptions: list[Assumption]
    arrangements: list[Arrangement]
    baseline: str
    best: str
    saving_usd: float
    saving_share: float
    saving_interval: Interval | None
    ratio_realtime_to_batch: float
    ratio_note: str
    break_even_utilization: float | None
    break_even_note: str
    sentence: str
    credited: list[Credit] = []
    waterfall: list[Waterfall]
    frontier: list[FrontierPoint]
    prices: list[PriceUsed]
    performance: list[str]
    warnings: list[str] = []
    unservable: UnservableRequests | None = None
    schema: str = SCHEMA


class ShadowPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of a period would cost in real time and with waiting; null where nothing can be said."""

    start_epoch_s: float
    end_epoch_s: float
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    realtime_usd: float | None = None
    saving_usd: float | None = None
    saving_interval: Interval | None = None
    credited: list[Credit] = []
    assumptions: list[Assumption] = []
    no_saving_because: str = ""


class ShadowReport(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `shadow`: each period alone, and the whole time, in which requests also wait across periods."""

    periods: list[ShadowPeriod]
    whole: ShadowPeriod
    unreachable_s: float
    warnings: list[str] = []
    schema: str = SHADOW_SCHEMA
