"""How much deferrable work there is room for at each venue: measured, and decided by `policy.backfill`."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

from meritorder.gateway.config import LanesTable, duration_s
from meritorder.gateway.venues.venues import LatencySample, Venue, Venues
from meritorder.policy.backfill import Admission, AdmissionRules, AdmissionState, EngineSample, admit

_LOOK_S: Final = 0.25
_FOREIGN_LOOKS: Final = 4
_DOWN_S: Final = 1.0
_ENGINE_SEQUENCES: Final = 256  # vLLM's own default
_log: Final = logging.getLogger(__name__)


class Headroom:
    """Watches the load of the engines and the pace of real time.

    Args:
        venues: The venues.
        lanes: What is promised to real time.
    """

    def __init__(self, venues: Venues, lanes: LanesTable) -> None:
        self._venues = venues
        self._lanes = lanes
        self._states: dict[str, AdmissionState] = {}
        self._admissions: dict[str, Admission] = {}
        self._foreign: dict[str, deque[int]] = {}
        self._down_until_s: dict[str, float] = {}

    def backfill(self, venue: Venue) -> int:
        """Return how many deferrable requests may begin now, behind everything that is real time."""
        if not venue.is_engine or not self._lanes.backfill:
            return self.capacity(venue)
        admission = self._admissions.get(venue.name)
        if admission is None:
            return 0
        free = admission.max_backfill(venue.realtime) - len(venue.deferrable)
        starting = admission.max_prefilling - venue.prefilling - _starting(venue)
        return max(0, min(free, starting, self.capacity(venue)))

    def capacity(self, venue: Venue) -> int:
        """Return how many may begin when nothing else keeps their deadline: every seat that nobody sits on."""
        if self._down_until_s.get(venue.name, 0.0) > time.monotonic():
            return 0
        return max(0, venue.max_sequences - venue.realtime - len(venue.deferrable))

    def is_up(self, venue: Venue) -> bool:
        """Tell whether a venue takes requests, as far as is known."""
        return self._down_until_s.get(venue.name, 0.0) <= time.monotonic()

    def alerts(self) -> dict[str, str]:
        """Return what somebody should look at, by venue."""
        return {name: each.alert for name, each in self._admissions.items() if each.alert is not None}

    def max_backfill(self, venue: Venue) -> int:
        """Return how many deferrable requests an engine may hold, as last decided."""
        admission = self._admissions.get(venue.name)
        return venue.max_sequences if admission is None else admission.max_backfill(venue.realtime)

    def mark_unavailable(self, venue: Venue, retry_after_s: float | None) -> None:
        """Leave a venue alone for a while."""
        self._down_until_s[venue.name] = time.monotonic() + (retry_after_s or _DOWN_S)

    async def run(self) -> None:
        """Measure and decide, until cancelled."""
        engines = [venue for venue in self._venues.all if venue.is_engine]
        while True:
            looks = await asyncio.gather(*(self._look(venue) for venue in engines), return_exceptions=True)
            for venue, failed in zip(engines, looks, strict=True):
                if isinstance(failed, Exception):
                    _log.error("venue %s could not be looked at: no backfill", venue.name, exc_info=failed)
                    self._admissions.pop(venue.name, None)
            await asyncio.sleep(_LOOK_S)

    async def _look(self, venue: Venue) -> None:
        venue.load = await venue.upstream.load()
        now_s = time.monotonic()
        rules = self._rules(venue)
        state, admission = admit(
            self._measured(venue, rules, now_s), self._states.get(venue.name, AdmissionState()), rules, now_s
        )
        before = self._admissions.get(venue.name)
        if admission.alert is not None and (before is None or before.alert != admission.alert):
            _log.warning("venue %s: %s", venue.name, admission.alert)
        self._states[venue.name], self._admissions[venue.name] = state, admission
        if self._lanes.backfill:
            venue.max_prefilling = admission.max_prefilling
            venue.preempt(sum(not seat.preempted for seat in venue.deferrable) - admission.max_resident)

    def _rules(self, venue: Venue) -> AdmissionRules:
        return AdmissionRules(
            ttft_s=duration_s(self._lanes.ttft),
            tpot_s=duration_s(self._lanes.tpot),
            max_sequences=venue.table.max_concurrency or _ENGINE_SEQUENCES,
        )

    def _measured(self, venue: Venue, rules: AdmissionRules, now_s: float) -> EngineSample | None:
        load = venue.load
        pace_s = venue.pace.look(now_s)
        if load is None:
            return None
        # Who has just gone is in the engine for the rest of a step: strangers are those who are there each time.
        foreign = self._foreign.setdefault(venue.name, deque([0], maxlen=_FOREIGN_LOOKS))
        foreign.append(max(0, load.running + load.waiting - len(venue.deferrable) - venue.realtime))
        since_s = now_s - rules.reaction_s
        return EngineSample(
            running=load.running,
            waiting=load.waiting,
            backfill=len(venue.deferrable),
            realtime=venue.realtime,
            foreign=min(foreign),
            max_sequences=venue.table.max_concurrency or load.max_sequences,
            kv_cache_share=load.kv_cache_share,
            ttft_s=_kept(venue.ttfts, since_s, self._lanes.attainment),
            tpot_s=_kept(venue.tpots, since_s, self._lanes.attainment) if pace_s is None else pace_s,
        )


def _starting(venue: Venue) -> int:
    return sum(seat.tokens == 0 for seat in venue.deferrable)


def _kept(samples: Iterable[LatencySample], since_s: float, share: float) -> float | None:
    """Return within which latency the share of a lane was, lately and on the whole: the better of both.

    A single bad one breaks no promise that is about a share of many, and one that is broken is mended since.
    """
    whole = [sample.latency_s for sample in samples]
    lately = [sample.latency_s for sample in samples if sample.at_s >= since_s]
    return min(_quantile(whole, share), _quantile(lately, share)) if lately else None


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]
