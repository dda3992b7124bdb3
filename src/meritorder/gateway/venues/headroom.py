"""How many deferrable requests each venue may take: measured here, decided by `policy.backfill`."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

from meritorder.gateway.config import LanesTable, duration_s
from meritorder.gateway.state.metrics import Gauge
from meritorder.gateway.state.supervisor import Supervisor
from meritorder.gateway.venues.step_meter import StepMeter
from meritorder.gateway.venues.venues import LatencySample, Venue, Venues
from meritorder.policy.backfill import Admission, AdmissionRules, AdmissionState, EngineSample, admit

_SAMPLE_S: Final = 0.25
_FOREIGN_SAMPLES: Final = 4
_DOWN_S: Final = 1.0
_RECENT_S: Final = 60.0
_MIN_MISSED: Final = 5  # fewer requests above the SLO may be chance
_ENGINE_SEQUENCES: Final = 256  # vLLM's default
_log: Final = logging.getLogger(__name__)


class Headroom:
    """Samples the load of the engines and the latency of the real-time lane, and limits deferrable work by them.

    Args:
        venues: The venues.
        lanes: The real-time SLO.
        supervisor: Records unexpected failures.
    """

    def __init__(self, venues: Venues, lanes: LanesTable, supervisor: Supervisor | None = None) -> None:
        self._supervisor = supervisor or Supervisor()
        self._venues = venues
        self._lanes = lanes
        self._states: dict[str, AdmissionState] = {}
        self._admissions: dict[str, Admission] = {}
        self._foreign: dict[str, deque[int]] = {}
        self._step_meters: dict[str, StepMeter] = {}
        self._down_until_s: dict[str, float] = {}

    def backfill(self, venue: Venue) -> int:
        """Return how many deferrable requests may start now without harm to real-time work."""
        if not venue.is_engine or not self._lanes.backfill:
            return self.capacity(venue)
        admission = self._admissions.get(venue.name)
        if admission is None:
            return 0
        sequences = admission.max_backfill(venue.realtime) - len(venue.deferrable)
        prefills = admission.max_prefilling - venue.prefilling - _prefilling(venue)
        return max(0, min(sequences, prefills, self.capacity(venue)))

    def capacity(self, venue: Venue) -> int:
        """Return how many urgent requests may start now: every free sequence."""
        if not self.is_up(venue):
            return 0
        return max(0, venue.max_sequences - venue.realtime - len(venue.deferrable))

    def is_up(self, venue: Venue) -> bool:
        """Tell whether a venue accepts requests, as far as is known."""
        return not venue.is_draining and self._down_until_s.get(venue.name, 0.0) <= time.monotonic()

    def alerts(self) -> dict[str, str]:
        """Return the conditions that an operator should look at, by venue."""
        return {name: admission.alert for name, admission in self._admissions.items() if admission.alert is not None}

    def recent_ttft(self) -> tuple[int, float | None]:
        """Return the real-time streams that began lately, and the TTFT in seconds that the SLO's share of them had."""
        since_s = time.monotonic() - _RECENT_S
        recent = [sample.latency_s for venue in self._venues.all for sample in venue.ttfts if sample.at_s >= since_s]
        return len(recent), _quantile(recent, self._lanes.attainment) if recent else None

    def gauges(self) -> list[Gauge]:
        """Return by venue what share of the last minute's real-time requests missed an SLO / the share that may."""
        since_s, lanes = time.monotonic() - _RECENT_S, self._lanes
        rates: list[tuple[tuple[str, ...], float]] = [
            (
                (venue.name,),
                max(
                    _burn_rate(venue.ttfts, since_s, duration_s(lanes.ttft), lanes.attainment),
                    _burn_rate(venue.tpots, since_s, duration_s(lanes.tpot), lanes.attainment),
                ),
            )
            for venue in self._venues.all
        ]
        return [("meritorder_slo_burn_rate", "Share of real-time requests that missed / may.", ("venue",), rates)]

    def max_backfill(self, venue: Venue) -> int:
        """Return how many deferrable requests a venue may hold, as last decided."""
        admission = self._admissions.get(venue.name)
        return venue.max_sequences if admission is None else admission.max_backfill(venue.realtime)

    def mark_unavailable(self, venue: Venue, retry_after_s: float | None) -> None:
        """Send nothing to a venue for a while."""
        self._down_until_s[venue.name] = time.monotonic() + (retry_after_s or _DOWN_S)

    async def run(self) -> None:
        """Sample and decide until cancelled."""
        engines = [venue for venue in self._venues.all if venue.is_engine]
        while True:
            outcomes = await asyncio.gather(*(self._sample(venue) for venue in engines), return_exceptions=True)
            for venue, outcome in zip(engines, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    self._supervisor.record("headroom", outcome)
                    self._admissions.pop(venue.name, None)  # no backfill
            await asyncio.sleep(_SAMPLE_S)

    async def _sample(self, venue: Venue) -> None:
        venue.load = await venue.upstream.load()
        now_s = time.monotonic()
        rules = self._rules(venue)
        state, admission = admit(
            self._engine_sample(venue, rules, now_s), self._states.get(venue.name, AdmissionState()), rules, now_s
        )
        before = self._admissions.get(venue.name)
        if admission.alert is not None and (before is None or before.alert != admission.alert):
            _log.warning("venue %s: %s", venue.name, admission.alert)
        self._states[venue.name], self._admissions[venue.name] = state, admission
        if self._lanes.backfill:
            venue.max_prefilling = admission.max_prefilling
            venue.preempt(sum(not running.preempted for running in venue.deferrable) - admission.max_resident)

    def _rules(self, venue: Venue) -> AdmissionRules:
        return AdmissionRules(
            ttft_s=duration_s(self._lanes.ttft),
            tpot_s=duration_s(self._lanes.tpot),
            protect=self._lanes.protect,
            max_sequences=venue.table.max_concurrency or _ENGINE_SEQUENCES,
        )

    def _engine_sample(self, venue: Venue, rules: AdmissionRules, now_s: float) -> EngineSample | None:
        load = venue.load
        pace_s = venue.pace.sample_tpot_s(now_s)
        if load is None:
            return None
        # A request that has just ended stays in the engine for the rest of a step; foreign ones are in every sample.
        foreign = self._foreign.setdefault(venue.name, deque([0], maxlen=_FOREIGN_SAMPLES))
        foreign.append(max(0, load.running + load.waiting - len(venue.deferrable) - venue.realtime))
        step_meter = self._step_meters.setdefault(venue.name, StepMeter())
        step_meter.sample(venue, foreign=min(foreign), now_s=now_s)
        since_s = now_s - rules.reaction_s
        return EngineSample(
            running=load.running,
            waiting=load.waiting,
            backfill=len(venue.deferrable),
            realtime=venue.realtime,
            foreign=min(foreign),
            max_sequences=venue.table.max_concurrency or load.max_sequences,
            kv_cache_share=load.kv_cache_share,
            ttft_s=_attained_s(venue.ttfts, since_s, self._lanes.attainment),
            tpot_s=_attained_s(venue.tpots, since_s, self._lanes.attainment) if pace_s is None else pace_s,
            step_times=step_meter.times,
        )


def _prefilling(venue: Venue) -> int:
    return sum(running.tokens == 0 for running in venue.deferrable)


def _burn_rate(samples: Iterable[LatencySample], since_s: float, limit_s: float, attainment: float) -> float:
    """Return the share of recent requests above a limit / the share that may be; 0 while only a few are above it."""
    recent = [sample.latency_s for sample in samples if sample.at_s >= since_s]
    missed = sum(latency_s > limit_s for latency_s in recent)
    return 0.0 if missed < _MIN_MISSED else missed / max((1 - attainment) * len(recent), 1.0)


def _attained_s(samples: Iterable[LatencySample], since_s: float, share: float) -> float | None:
    """Return the latency attained by a share of the requests, recently and overall: the lower of both.

    One slow request breaks no SLO that is about a share of many, and an SLO that was broken may hold again.
    """
    overall = [sample.latency_s for sample in samples]
    recent = [sample.latency_s for sample in samples if sample.at_s >= since_s]
    return min(_quantile(overall, share), _quantile(recent, share)) if recent else None


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]
