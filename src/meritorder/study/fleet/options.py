"""The options of a comparison: model, hardware, SLO, deadlines and other assumptions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meritorder.catalog import Source
from meritorder.domain import Attention, Slo
from meritorder.inputs.arguments import COUNT, NOT_NEGATIVE, POSITIVE, Range, check_ranges, convert_arguments
from meritorder.perf.limits import limits_of
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.perf.versions import Engine
from meritorder.records.evidence import Assumption
from meritorder.sim.pools import Startup
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, format_duration

Progress = Callable[[str], None]
"""Receives a line of text at each step of a long computation."""

DEFAULT_SLO: Final = Slo(ttft_s=2.0, tpot_s=0.1, attainment=0.99)
"""Assumed where no SLO is stated: the first-token limit of MLPerf's Llama-2-70B server scenario (2 s, v5.1, 2025), and
ten tokens a second, which is faster than people read."""

ASSUMED_INTERRUPTIONS_PER_MONTH: Final = 0.1
"""Assumed share of spot machines interrupted in a month where a provider states no rate: the middle of the spot
advisor's buckets (aws_spot_advisor, 2025-06)."""

_RANGES: Final = {
    "tp": COUNT,
    "patience_s": POSITIVE,
    "spread_s": POSITIVE,
    "slower": POSITIVE,
    "replicas": COUNT,
    "stated_cold_start_s": NOT_NEGATIVE,
    "keep_warm_s": NOT_NEGATIVE,
    "seed": NOT_NEGATIVE,
    "pace": Range(1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """The options of a comparison.

    A single name or file may stand where several are declared, and a path may be text.

    Args:
        model: Model to serve; "" takes the only one that the trace names.
        hardware: Names of hardware to choose from; the cheapest is used for each lane.
        providers: Providers to rent from; empty means all.
        regions: Regions to rent in; empty means all.
        engine: Inference engine, with the version that the user runs if stated: `vllm` or `vllm@0.10.2`.
        precision: Precision of the weights; None means the model's own.
        allowed_precisions: Precisions that the weights may have as well, with what that costs in quality.
        tp: GPUs per replica; None means the cheapest number that meets the SLO.
        attention: How the attention of a mixture of experts is split over these GPUs; any way by default.
        slo: SLO of real-time workloads that state none; None assumes `DEFAULT_SLO`.
        defer: Shares of the requests that can wait, such as `40%@4h`.
        workloads: Workloads file.
        patience_s: In the batch arrangement, how long a request without a deadline can wait.
        spread_s: Time over which requests without arrival times are spread.
        startup: Time from renting a machine until it serves, and how much of it is paid.
        profile: Profile file of the user's own endpoint.
        roofline: Estimate step times from data sheets where no measurement exists.
        slower: Factor by which every engine step is longer than in the profile, as measured since.
        max_num_seqs: Sequences per step at most; None means the profile's own limit, or the engine's default.
        max_num_batched_tokens: Tokens per step at most; None likewise.
        memory_utilization: Share of the GPUs' memory that the engine may use; None means its default.
        kv_cache_dtype: Precision of the KV cache, bf16 or fp8; None means the engine's default.
        replicas: Replicas of the current real-time fleet, which is then the baseline; None searches for the cheapest.
        spot: Run deferrable work on spot machines where they are cheaper.
        spot_trace: Recorded fleet of spot machines, which limits how many are available at each time.
        serverless: Simulate serverless workers as well.
        stated_cold_start_s: Time from the request that starts a worker until it serves; None takes `startup` without
            the time to find a machine.
        keep_warm_s: How long a worker stays warm after its last request; None takes its provider's default.
        catalogs: Files that add or override prices, hardware and models, and rates of currencies.
        seed: Seed of random draws.
        coarse: Search only the machines that promise most, and end simulations once they break the SLO: less time, and
            seldom another answer.
        pace: How many times as fast as in truth the requests arrive one after another, and all but serving passes.
    """

    model: str = ""
    hardware: tuple[str, ...] = ("h100",)
    providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    engine: str = "vllm"
    precision: str | None = None
    allowed_precisions: tuple[str, ...] = ()
    tp: int | None = None
    attention: Attention = Attention.ANY
    slo: Slo | None = None
    defer: tuple[str, ...] = ()
    workloads: Path | None = None
    patience_s: float = SECONDS_PER_DAY
    spread_s: float = SECONDS_PER_HOUR
    startup: Startup = field(default_factory=Startup)
    profile: Path | None = None
    roofline: bool = False
    slower: float = 1.0
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    memory_utilization: float | None = None
    kv_cache_dtype: str | None = None
    replicas: int | None = None
    spot: bool = False
    spot_trace: Path | None = None
    serverless: bool = False
    stated_cold_start_s: float | None = None
    keep_warm_s: float | None = None
    catalogs: tuple[Source, ...] = ()
    seed: int = 0
    coarse: bool = False
    pace: float = 1.0

    def __post_init__(self) -> None:
        convert_arguments(self)
        check_ranges(self, _RANGES)

    @property
    def default_slo(self) -> Slo:
        """The SLO of real-time workloads that state none."""
        return self.slo or DEFAULT_SLO

    @property
    def cold_start_s(self) -> float:
        """Time from the request that starts a serverless worker until it serves."""
        return self.startup.paid_s if self.stated_cold_start_s is None else self.stated_cold_start_s

    @property
    def served_by(self) -> Engine:
        """The engine and the version that the user runs."""
        return Engine.parse(self.engine)

    def engine_limits(self, profile: Profile) -> EngineLimits:
        """Return the engine's limits: the stated ones, else the profile's, else the engine's defaults."""
        return limits_of(profile, max_num_seqs=self.max_num_seqs, max_num_batched_tokens=self.max_num_batched_tokens)

    def slo_assumption(self) -> Assumption:
        """Return the assumption of the default SLO."""
        slo = self.default_slo
        text = (
            f"real time means that {slo.attainment:.0%} of requests have a TTFT of at most {slo.ttft_s:g} s "
            f"and a TPOT of at most {slo.tpot_s:g} s"
        )
        return Assumption(text=text, option="--slo")

    def precision_assumptions(self) -> list[Assumption]:
        """Return the assumption of other precisions than the model's own, if any are allowed."""
        if not self.allowed_precisions:
            return []
        allowed = " or ".join(self.allowed_precisions)
        text = f"weights in {allowed} answer well enough, which is not measured here; try them on your own tasks"
        return [Assumption(text=text, option="--allow-precision")]

    def startup_assumption(self, consequence: str = "") -> Assumption:
        """Return the assumption of the start-up time, and what follows from it."""
        total, paid = format_duration(self.startup.total_s), format_duration(self.startup.paid_s)
        text = f"a machine serves {total} after it is rented, of which {paid} are paid{consequence}"
        return Assumption(text=text, option="--startup")
