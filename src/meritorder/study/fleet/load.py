"""The requests of a trace as arrays, with the SLO or deadline of each."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder.domain import Access, Lane, Slo, Workload
from meritorder.latency import breaks_slo, tpot_s
from meritorder.sim.pools import Requests, SimResult, SloLimits
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NO_DEADLINE: Final = np.inf
SATURATION_REQUESTS: Final = 100_000
"""Requests that saturated throughput is measured with, both when a plan is made and when it is simulated."""
_LEAST_ATTAINMENT: Final = 1e-9
# How long requests wait in trials, if they can wait longer; only where they are few, and one machine more shows.
_WAITS_S: Final = (60.0, 300.0, 600.0, 1800.0, *(hours * SECONDS_PER_HOUR for hours in (1, 2, 4, 8, 12, 24)))
_FEW_REQUESTS: Final = 5_000
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
    """Requests with their SLOs and deadlines, shape (requests,), sorted by arrival.

    Args:
        arrived_s: Arrival time.
        input_tokens: Prompt length.
        cached_tokens: Prompt tokens read from the prefix cache.
        output_tokens: Generated tokens.
        deadline_s: Deadline of a deferrable request; infinity in the real-time lane.
        ttft_limit_s: Time to first token of the SLO; applies in the real-time lane.
        tpot_limit_s: Time per output token of the SLO; applies in the real-time lane.
        workload: Index of the request's workload.
        workloads: The workloads.
        attainment: Share of all real-time requests that must meet their SLO, over all workloads.
        span_s: Time that the requests cover, from time 0.
        begin_s: Time of the trace at time 0, where their first machines are on without a start.
        verdict_suffices: Whether nothing else matters of a fleet that breaks the SLO, so that its simulation may end as
            soon as it does.
        pace: How many times as fast as in truth all but serving passes: machines start, and deadlines come, sooner.
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
    begin_s: float = 0.0
    verdict_suffices: bool = False
    pace: float = 1.0

    def __len__(self) -> int:
        return len(self.arrived_s)

    @property
    def deferrable(self) -> Bools:
        """Which requests can wait."""
        return np.isfinite(self.deadline_s)

    @property
    def accesses(self) -> tuple[Access, ...]:
        """The distinct access rules of the workloads."""
        return tuple(dict.fromkeys(workload.access for workload in self.workloads))

    @property
    def access(self) -> NDArray[np.int32]:
        """Index of each request's rule among `accesses`, shape (requests,)."""
        places = {access: place for place, access in enumerate(self.accesses)}
        return np.array([places[workload.access] for workload in self.workloads], np.int32)[self.workload]

    def may_run(self, provider: str, region: str, hardware: str) -> Bools:
        """Return which requests may run at a venue, shape (requests,)."""
        permitted = [workload.access.permits(provider, region, hardware) for workload in self.workloads]
        return np.array(permitted)[self.workload]

    @property
    def tokens(self) -> float:
        """Input and output tokens of all requests."""
        return float(self.input_tokens.sum(dtype=np.int64) + self.output_tokens.sum(dtype=np.int64))

    @property
    def bin_s(self) -> float:
        """Length of a bin of simulation results over time."""
        return 15 * SECONDS_PER_MINUTE if self.span_s >= SECONDS_PER_DAY else SECONDS_PER_MINUTE

    @property
    def tightest_tpot_s(self) -> float:
        """The smallest time per output token in any real-time SLO."""
        realtime = ~self.deferrable
        return float(self.tpot_limit_s[realtime].min()) if realtime.any() else NO_DEADLINE

    @property
    def on_trace_clock(self) -> Self:
        """The same requests, their times counted from the beginning of the trace."""
        if not self.begin_s:
            return self
        return replace(
            self,
            arrived_s=self.arrived_s + self.begin_s,
            deadline_s=self.deadline_s + self.begin_s,
            span_s=self.begin_s + self.span_s,
            begin_s=0.0,
        )

    def all_realtime(self) -> Self:
        """Return the same requests, all in the real-time lane."""
        return replace(self, deadline_s=np.full(len(self), NO_DEADLINE))

    def at_once(self, workloads: Sequence[bool]) -> Self:
        """Return the same requests, those of some workloads in the real-time lane."""
        chosen = np.array(workloads)[self.workload]
        return replace(self, deadline_s=np.where(chosen, NO_DEADLINE, self.deadline_s)) if chosen.any() else self

    def all_deferrable(self, patience_s: float) -> Self:
        """Return the same requests, all deferrable; those without a deadline get this patience."""
        later_s = self.arrived_s + patience_s / self.pace
        return replace(self, deadline_s=np.where(self.deferrable, self.deadline_s, later_s))

    def paced(self, pace: float) -> Self:
        """Return the same requests, which arrived at this pace already, with deadlines that come at it as well."""
        return replace(self, deadline_s=self.arrived_s + (self.deadline_s - self.arrived_s) / pace, pace=pace)

    def waiting_at_most(self, patience_s: float) -> Self:
        """Return the same requests, none of which can wait longer than this."""
        sooner_s = np.minimum(self.deadline_s, self.arrived_s + patience_s / self.pace)
        return replace(self, deadline_s=np.where(self.deferrable, sooner_s, NO_DEADLINE))

    def waiting_less(self) -> Iterator[Self]:
        """Yield few requests with less time to wait, so that more patience never makes them more expensive."""
        if len(self) > _FEW_REQUESTS or not self.deferrable.any():
            return
        longest_s = float((self.deadline_s - self.arrived_s)[self.deferrable].max()) * self.pace
        yield from (self.waiting_at_most(patience_s) for patience_s in _WAITS_S if patience_s < longest_s)

    def sample(self, count: int) -> Self:
        """Return about `count` of the requests, evenly spread over the trace, the longest one included."""
        if len(self) <= count:
            return self
        chosen = np.zeros(len(self), bool)
        chosen[np.linspace(0, len(self), count, endpoint=False).astype(np.int64)] = True
        chosen[np.argmax(self.input_tokens.astype(np.int64) + self.output_tokens)] = True
        return self.select(chosen)

    def busiest(self, count: int) -> Self:
        """Return the shortest stretch of this many requests; all if they are no more."""
        if len(self) <= count:
            return self
        first = int(np.argmin(self.arrived_s[count - 1 :] - self.arrived_s[: len(self) - count + 1]))
        return self.stretch(first, count)

    def stretch(self, first: int, count: int) -> Self:
        """Return a stretch of the requests, from time 0; it may break the SLO as often as the whole.

        A fleet that is too small for the stretch is too small for the whole load.
        """
        requests = self.select(np.arange(first, first + count))
        begin_s = float(requests.arrived_s[0])
        arrived_s = requests.arrived_s - begin_s
        return replace(
            requests,
            arrived_s=arrived_s,
            deadline_s=requests.deadline_s - begin_s,
            span_s=float(arrived_s[-1]),
            workloads=tuple(self._relaxed(index, requests) for index in range(len(self.workloads))),
            attainment=max(0.0, _relaxed(self.attainment, ~self.deferrable, ~requests.deferrable)),
        )

    def _relaxed(self, index: int, stretch: Self) -> Workload:
        """Return a workload that may break its SLO as often in a stretch as in all requests."""
        workload = self.workloads[index]
        if workload.slo is None:
            return workload
        members = ~self.deferrable & (self.workload == index), ~stretch.deferrable & (stretch.workload == index)
        attainment = max(_LEAST_ATTAINMENT, _relaxed(workload.slo.attainment, *members))
        return replace(workload, slo=replace(workload.slo, attainment=attainment))

    def joined(self, other: Self) -> Self:
        """Return the requests of another load followed by these, which must arrive after them."""
        columns: dict[str, Any] = {
            name: np.concatenate((getattr(other, name), getattr(self, name))) for name in _COLUMNS
        }
        return replace(self, **columns)

    def select(self, keep: Bools | NDArray[np.int64]) -> Self:
        """Return some of the requests, by mask or by index."""
        return replace(self, **{name: getattr(self, name)[keep] for name in _COLUMNS})

    def requests(self, work_s: Floats, residence_s: Floats) -> Requests:
        """Return the requests for the simulator.

        Args:
            work_s: Seconds of a saturated replica that each request takes.
            residence_s: Seconds that each stays in a saturated replica; its latest start is that long before its
                deadline, but not before its arrival.
        """
        return Requests(
            arrived_s=self.arrived_s,
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            latest_start_s=np.maximum(self.deadline_s - residence_s, self.arrived_s),
            work_s=work_s,
            access=self.access if len(self.accesses) > 1 else None,
        )

    def slo_limits(self) -> SloLimits | None:
        """Return the limits at which a simulation may end early; None if its whole result matters."""
        deferrable = self.deferrable
        if not self.verdict_suffices or deferrable.all():
            return None
        ttft_s, tpot_s = (np.where(deferrable, np.inf, limit_s) for limit_s in (self.ttft_limit_s, self.tpot_limit_s))
        # One more than may break it, so that rounding decides nothing.
        may_break = math.floor(np.count_nonzero(~deferrable) * (1 - self.attainment)) + 1
        return SloLimits(ttft_s=ttft_s, tpot_s=tpot_s, may_break=may_break)

    def latencies(self, result: SimResult) -> tuple[Floats, Floats]:
        """Return TTFT and TPOT of each simulated request, nan if it was never served, shapes (requests,)."""
        ttft_s = result.first_token_s - self.arrived_s
        return ttft_s, tpot_s(result.finished_s, result.first_token_s, self.output_tokens)

    def slo_attainment(self, ttft_s: Floats, tpot_s: Floats) -> tuple[float | None, bool]:
        """Return the share of real-time requests that met their SLO, and whether it suffices for every workload.

        Args:
            ttft_s: Time to first token, shape (requests,).
            tpot_s: Time per output token, nan at one token, shape (requests,).
        """
        realtime = ~self.deferrable
        if not realtime.any():
            return None, True
        met = ~self.broken(ttft_s, tpot_s)
        share = float(met[realtime].mean())
        enough = share >= self.attainment
        for indices, slo in self._promises:
            members = realtime & np.isin(self.workload, indices)
            if members.any():
                enough = enough and float(met[members].mean()) >= slo.attainment
        return share, enough

    @property
    def _promises(self) -> list[tuple[list[int], Slo]]:
        """The declared and the default SLOs, each with the indices of its workloads.

        Requests that may wait belong to the workload that they were taken from: what may wait does not change what
        real time means.
        """
        promises: dict[str, tuple[list[int], Slo]] = {}
        names = [workload.deferred_from or workload.name for workload in self.workloads]
        for name, workload in zip(names, self.workloads, strict=True):
            if workload.slo:
                promises.setdefault(name, ([], workload.slo))
        for index, name in enumerate(names):
            if name in promises:
                promises[name][0].append(index)
        return list(promises.values())

    def broken(self, ttft_s: Floats, tpot_s: Floats) -> Bools:
        """Return which real-time requests break their SLO, shape (requests,).

        Args:
            ttft_s: Time to first token, shape (requests,).
            tpot_s: Time per output token, nan at one token, shape (requests,).
        """
        return ~self.deferrable & breaks_slo(ttft_s, tpot_s, self.ttft_limit_s, self.tpot_limit_s)

    def deadlines_missed(self, finished_s: Floats) -> int:
        """Return how many deferrable requests finished late, or never.

        Args:
            finished_s: Time of the last token, nan if it was never generated, shape (requests,).
        """
        return int(np.count_nonzero(self.deferrable & ~(finished_s <= self.deadline_s)))


def _relaxed(attainment: float, requests: Bools, some: Bools) -> float:
    """Return the attainment of some of the requests if they may break the SLO as often as all of them."""
    return 1 - (1 - attainment) * int(requests.sum()) / max(int(some.sum()), 1)


def load_from_requests(
    requests: pl.DataFrame, workloads: tuple[Workload, ...], default_slo: Slo, span_s: float, begin_s: float = 0.0
) -> TraceLoad:
    """Return a table of requests with their workloads as arrays; their time 0 is the time `begin_s` of the table."""
    names = [workload.name for workload in workloads]
    index = requests["workload"].cast(pl.String).replace_strict(names, range(len(names)), return_dtype=pl.Int32)
    members = index.to_numpy()
    slos = [workload.slo or default_slo for workload in workloads]
    deferrable = np.array([workload.lane is Lane.DEFERRABLE for workload in workloads])
    deadline = requests["deadline_s"].fill_null(NO_DEADLINE).to_numpy() - begin_s
    return TraceLoad(
        arrived_s=requests["arrived_s"].to_numpy() - begin_s,
        input_tokens=requests["input_tokens"].to_numpy(),
        cached_tokens=requests["cached_tokens"].to_numpy(),
        output_tokens=requests["output_tokens"].to_numpy(),
        deadline_s=np.where(deferrable[members], deadline, NO_DEADLINE),
        ttft_limit_s=np.array([slo.ttft_s for slo in slos])[members],
        tpot_limit_s=np.array([slo.tpot_s for slo in slos])[members],
        workload=members,
        workloads=workloads,
        attainment=min(slo.attainment for slo in slos),
        span_s=span_s,
        begin_s=begin_s,
    )
