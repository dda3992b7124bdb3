"""What to compare, and on what assumptions."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from meritorder.domain import Slo
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.sim.pools import Startup
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

DEFAULT_SLO: Final = Slo(ttft_s=2.0, tpot_s=0.1, attainment=0.99)
"""Assumed where nobody states a promise: the first-token limit of MLPerf's Llama-2-70B server scenario (2 s, v5.1,
2025), and ten tokens a second, which is faster than people read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to compare, and on what assumptions.

    Args:
        model: Name of the model that is served; "" takes the trace's own.
        hardware: Names of hardware; the cheapest is taken for each lane.
        providers: Providers to rent from; empty takes all.
        regions: Regions to rent in; empty takes all.
        engine: Inference engine.
        precision: Precision of the weights; None takes the model's own.
        tp: GPUs of a replica; None takes the cheapest that keeps the SLO.
        slo: The real-time promise where no workload states one; None assumes `DEFAULT_SLO`.
        defer: Shares that may wait, as `40%@4h`.
        workloads: Workloads file.
        patience_s: Deadline of a request in the batch arrangement that has none of its own.
        spread_s: Time over which requests without arrival times are spread.
        startup: From the decision to rent a machine until it serves, and what of that is paid for.
        profile: Profile file of one's own endpoint.
        roofline: Take step times from the data sheets where nothing was measured.
        max_num_seqs: Most sequences in a step; None takes the profile's own, or the engine's default.
        max_num_batched_tokens: Most tokens in a step; likewise.
        replicas: Replicas of the present real-time fleet, which is then the baseline; None searches the cheapest.
        spot: Let what can wait run on spot machines where they are cheaper.
        spot_trace: Recorded fleet of spot machines: no more are to be had than it had at that time.
        catalogs: Files that add prices or override them.
        seed: Of whatever is drawn.
    """

    model: str = ""
    hardware: tuple[str, ...] = ("h100",)
    providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    engine: str = "vllm"
    precision: str | None = None
    tp: int | None = None
    slo: Slo | None = None
    defer: tuple[str, ...] = ()
    workloads: Path | None = None
    patience_s: float = SECONDS_PER_DAY
    spread_s: float = SECONDS_PER_HOUR
    startup: Startup = field(default_factory=Startup)
    profile: Path | None = None
    roofline: bool = False
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    replicas: int | None = None
    spot: bool = False
    spot_trace: Path | None = None
    catalogs: tuple[Path, ...] = ()
    seed: int = 0

    @property
    def default_slo(self) -> Slo:
        """The real-time promise where no workload states one."""
        return self.slo or DEFAULT_SLO

    def engine_limits(self, profile: Profile) -> EngineLimits:
        """Return the engine's limits: what is stated, else what the profile knows, else the engine's defaults."""
        stated = {"max_num_seqs": self.max_num_seqs, "max_num_batched_tokens": self.max_num_batched_tokens}
        given = {name: value for name, value in stated.items() if value is not None}
        return msgspec.structs.replace(profile.limits or EngineLimits.of(profile.engine), **given)
