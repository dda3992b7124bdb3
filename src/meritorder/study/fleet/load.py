"""The requests of a study as arrays, with the promise made to each."""

from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder.domain import Access, Lane, Slo, Workload
from meritorder.errors import InfeasibleError
from meritorder.latency import breaks_slo
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.policy.escalation import latest_start_s
from meritorder.sim.pools import Requests
from meritorder.sim.saturation import alone_on_a_replica

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_DEADLINE: Final = np.inf
# Requests that machines are measured with, when a plan is made and when it is carried out: the same, or both differ.
SATURATION_REQUESTS: Final = 100_000
_COLUMNS: Final = (
    "arrived_s",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "deadline_s",
    "ttft_limit_s",
    "tpot_limit_s",
    "workload",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceLoad:
    """Requests and their promises, shape (requests,), sorted by arrival.

    Args:
        arrived_s: Arrival.
        input_tokens: Prompt length.
        cached_tokens: Prompt tokens that need no computing.
        output_tokens: Generated tokens.
        deadline_s: When a deferrable request must be done; infinity in the real-time lane.
        ttft_limit_s: Longest time to first token; holds in the real-time lane.
        tpot_limit_s: Longest time per output token; holds in the real-time lane.
        workload: Index of its workload.
        workloads: The workloads.
        attainment: Share of all real-time requests that must keep their SLO, whatever their workload.
        span_s: Time that the trace stands for.
    """

    arrived_s: Floats
    input_tokens: NDArray[np.int32]
    cached_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    deadline_s: Floats
    ttft_limit_s: Floats
    tpot_limit_s: Floats
    workload: NDArray[np.int32]
    workloads: tuple[Workload, ...]
    attainment: float
    span_s: float

    def __len__(self) -> int:
        return len(self.arrived_s)

    @property
    def deferrable(self) -> Bools:
        """Which requests may wait."""
        return np.isfinite(self.deadline_s)

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Where workloads may run, each way once."""
        return tuple(dict.fromkeys(one.access for one in self.workloads))

    @property
    def access(self) -> NDArray[np.int32]:
        """Which of them each request has, shape (requests,)."""
        places = {access: place for place, access in enumerate(self.accesses)}
        return np.array([places[one.access] for one in self.workloads], np.int32)[self.workload]

    def may_run(self, provider: str, region: str, hardware: str) -> Bools:
        """Return which requests may run there, shape (requests,)."""
        return np.array([one.access.permits(provider, region, hardware) for one in self.workloads])[self.workload]

    @property
    def tokens(self) -> float:
        """Input and output tokens together."""
        return float(self.input_tokens.sum(dtype=np.int64) + self.output_tokens.sum(dtype=np.int64))

    @property
    def tightest_tpot_s(self) -> float:
        """The strictest pace that any real-time request was promised."""
        realtime = ~self.deferrable
        return float(self.tpot_limit_s[realtime].min()) if realtime.any() else NO_DEADLINE

    def all_realtime(self) -> Self:
        """Return the same requests with nothing that may wait."""
        return replace(self, deadline_s=np.full(len(self), NO_DEADLINE))

    def all_deferrable(self, patience_s: float) -> Self:
        """Return the same requests with nothing that cannot wait; what has no deadline gets this patience."""
        return replace(self, deadline_s=np.where(self.deferrable, self.deadline_s, self.arrived_s + patience_s))

    def sample(self, count: int) -> Self:
        """Return at most so many of the requests, evenly spread over the time, the longest one among them."""
        if len(self) <= count:
            return self
        chosen = np.linspace(0, len(self), count, endpoint=False).astype(np.int64)
        longest = int(np.argmax(self.input_tokens.astype(np.int64) + self.output_tokens))
        return self.select(np.union1d(chosen, [longest]))

    def joined(self, other: Self) -> Self:
        """Return the requests of another load, then these; their arrivals must follow on."""
        columns: dict[str, Any] = {
            name: np.concatenate((getattr(other, name), getattr(self, name))) for name in _COLUMNS
        }
        return replace(self, **columns)

    def select(self, keep: Bools | NDArray[np.int64]) -> Self:
        """Return some of the requests, by mask or by index."""
        return replace(self, **{name: getattr(self, name)[keep] for name in _COLUMNS})

    def requests(self, work_s: Floats, residence_s: Floats) -> Requests:
        """Return what the simulator takes.

        Args:
            work_s: Seconds of a saturated replica that each takes.
            residence_s: Seconds that each holds a seat at the pace of a full replica: its latest start is that long
                before its deadline.
        """
        return Requests(
            arrived_s=self.arrived_s,
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            latest_start_s=latest_start_s(self.deadline_s, residence_s, self.arrived_s),
            work_s=work_s,
            access=self.access if len(self.accesses) > 1 else None,
        )

    def slo_attainment(self, ttft_s: Floats, tpot_s: Floats) -> tuple[float | None, bool]:
        """Return the share of real-time requests that kept their promise, and whether each workload's is enough.

        Args:
            ttft_s: Time to first token, shape (requests,).
            tpot_s: Time per output token, nan at one token, shape (requests,).
        """
        realtime = ~self.deferrable
        if not realtime.any():
            return None, True
        kept = ~breaks_slo(ttft_s, tpot_s, self.ttft_limit_s, self.tpot_limit_s)
        share = float(kept[realtime].mean())
        enough = share >= self.attainment
        for index, workload in enumerate(self.workloads):
            mine = realtime & (self.workload == index)
            if workload.slo and mine.any():
                enough = enough and float(kept[mine].mean()) >= workload.slo.attainment
        return share, enough


def load_from_requests(
    requests: pl.DataFrame, workloads: tuple[Workload, ...], default_slo: Slo, span_s: float
) -> TraceLoad:
    """Turn a table of requests with their workloads into arrays."""
    names = [workload.name for workload in workloads]
    index = requests["workload"].cast(pl.String).replace_strict(names, range(len(names)), return_dtype=pl.Int32)
    workload = index.to_numpy()
    slos = [each.slo or default_slo for each in workloads]
    lanes = np.array([each.lane is Lane.DEFERRABLE for each in workloads])
    deadline = requests["deadline_s"].fill_null(NO_DEADLINE).to_numpy()
    return TraceLoad(
        arrived_s=requests["arrived_s"].to_numpy(),
        input_tokens=requests["input_tokens"].to_numpy(),
        cached_tokens=requests["cached_tokens"].to_numpy(),
        output_tokens=requests["output_tokens"].to_numpy(),
        deadline_s=np.where(lanes[workload], deadline, NO_DEADLINE),
        ttft_limit_s=np.array([slo.ttft_s for slo in slos])[workload],
        tpot_limit_s=np.array([slo.tpot_s for slo in slos])[workload],
        workload=workload,
        workloads=workloads,
        attainment=min(slo.attainment for slo in slos),
        span_s=span_s,
    )


def check_slo(load: TraceLoad, profile: Profile, limits: EngineLimits) -> None:
    """Make sure that the promise can be kept by a replica that does nothing else.

    Raises:
        InfeasibleError: Too few requests keep it even alone; says which half of it fails and what would do.
    """
    realtime = load.select(~load.deferrable)
    if not len(realtime):
        return
    ttft_s, tpot_s = alone_on_a_replica(
        realtime.requests(np.zeros(len(realtime)), np.zeros(len(realtime))), profile, limits
    )
    tpot_s = np.where(realtime.output_tokens > 1, tpot_s, np.nan)
    share, enough = realtime.slo_attainment(ttft_s, tpot_s)
    if enough or share is None:
        return
    needed = max([load.attainment, *(w.slo.attainment for w in load.workloads if w.slo)])
    paced = tpot_s[np.isfinite(tpot_s)]
    takes = f"{np.quantile(ttft_s, needed):.2g} s to the first token"
    takes += f" and {np.quantile(paced, needed):.2g} s a token after it" if len(paced) else ""
    raise InfeasibleError(
        f"no replica can meet the SLO: alone on an idle one {share:.1%} of requests keep it, "
        f"{needed:.1%} must; that share takes {takes}",
        where=profile.replica.label,
        fix="loosen it with --slo ttft=…,tpot=…, use more GPUs a replica (--tp), or faster hardware",
    )
