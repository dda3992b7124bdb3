"""Meters paid capacity: when each engine started, was ready and stopped, at which price."""

import asyncio
import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state.clock import wait_until_set
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.metrics import Gauge
from meritorder.gateway.store.billing import capacity
from meritorder.gateway.store.billing.capacity import CapacityRecord
from meritorder.gateway.venues.engines import EngineState
from meritorder.gateway.venues.headroom import Headroom
from meritorder.gateway.venues.rented import Rented
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.metering import words
from meritorder.records.accounting import Use
from meritorder.units import SECONDS_PER_DAY

_BEAT_S: Final = 5.0  # a gateway that is killed leaves the end of its engines uncertain by as much
_GONE_S: Final = 60.0  # an engine that others run has stopped if it is not seen for this long


class CapacityMeter:
    """Records what the venues rent. Engines of others are paid while this gateway sees them.

    Args:
        context: The shared state.
        venues: The venues.
        headroom: Which venues are up.
    """

    def __init__(self, context: Context, venues: Venues, headroom: Headroom) -> None:
        self._context = context
        self._headroom = headroom
        self._wake = asyncio.Event()
        self._running: dict[str, CapacityRecord] = {}  # by venue
        self._committed: dict[str, CapacityRecord] = {}
        self._unsaved: dict[str, CapacityRecord] = {}  # by id
        self._rented = [(venue, venue.rented) for venue in venues.all if venue.rented is not None]
        for venue, rented in self._rented:
            if venue.engine is not None:
                venue.engine.changed = partial(self._record_state, venue, rented)

    async def run(self) -> None:
        """Record until cancelled."""
        while self._rented:
            await self.record()
            await wait_until_set(self._wake, _BEAT_S)
            self._wake.clear()

    async def record(self) -> None:
        """Record what is paid now."""
        self._beat()
        await self._save()

    async def close(self) -> None:
        """Record the end of everything, once the engines have stopped."""
        for records in (self._running, self._committed):
            for name in list(records):
                self._stop(records, name, self._context.now_s())
        await self._save()

    def venues(self) -> Iterable[str]:
        """Return the names of the venues that are paid by time."""
        return (venue.name for venue, _ in self._rented)

    def paid_now(self) -> Iterator[tuple[str, Use, int]]:
        """Yield each venue that is paid now, what for, and its price in picodollars an hour."""
        for venue, rented in self._rented:
            record = self._running.get(venue.name)
            if record is not None and record.ready_s is None:
                yield venue.name, Use.STARTING, rented.picousd_per_hour
            elif record is not None:
                yield venue.name, Use.BUSY if venue.in_flight else Use.IDLE, rented.picousd_per_hour
            elif venue.name in self._committed:
                yield venue.name, Use.UNUSED_COMMITMENT, rented.picousd_per_hour

    def gauges(self) -> list[Gauge]:
        """Return the days until each commitment ends."""
        now_s = self._context.now_s()
        days_left: list[tuple[tuple[str, ...], float]] = [
            ((venue.name,), (rented.ends_s - now_s) / SECONDS_PER_DAY)
            for venue, rented in self._rented
            if rented.is_committed(now_s) and rented.ends_s < math.inf
        ]
        return [("meritorder_commitment_days_left", "Days until the commitment ends.", ("venue",), days_left)]

    def _record_state(self, venue: Venue, rented: Rented, state: EngineState) -> None:
        now_s = self._context.now_s()
        if state in {EngineState.STARTING, EngineState.STOPPED}:
            self._stop(self._running, venue.name, now_s)
        if state is EngineState.STARTING:
            self._start(self._running, venue, rented, now_s)
        elif state is EngineState.READY and venue.name in self._running:
            self._renew(self._running, venue.name, ready_s=now_s, seen_s=now_s)
        self._wake.set()

    def _beat(self) -> None:
        """Renew what is paid now."""
        now_s = self._context.now_s()
        for venue, rented in self._rented:
            if not rented.is_committed(now_s):
                self._stop(self._committed, venue.name, rented.ends_s)
            elif venue.name not in self._committed:
                self._start(self._committed, venue, rented, now_s, kind=words.COMMITMENT)
            if venue.engine is None:
                self._observe(venue, rented, now_s)
            elif venue.name in self._running:
                self._renew(self._running, venue.name, seen_s=now_s)
            if venue.name in self._committed:
                self._renew(self._committed, venue.name, seen_s=now_s)

    def _observe(self, venue: Venue, rented: Rented, now_s: float) -> None:
        """Record an engine that others run."""
        is_seen = self._headroom.is_up(venue) and (venue.load is not None or not venue.is_engine)
        if is_seen and venue.name not in self._running:
            self._start(self._running, venue, rented, now_s, ready_s=now_s)
        elif is_seen:
            self._renew(self._running, venue.name, seen_s=now_s)
        elif venue.name in self._running and now_s - self._running[venue.name].seen_s > _GONE_S:
            self._stop(self._running, venue.name, self._running[venue.name].seen_s)

    def _start(
        self,
        records: dict[str, CapacityRecord],
        venue: Venue,
        rented: Rented,
        now_s: float,
        *,
        kind: str = words.REPLICA,
        ready_s: float | None = None,
    ) -> None:
        record = CapacityRecord(
            id=self._context.new_id("capacity-"),
            kind=kind,
            venue=venue.name,
            replica=(venue.replica or "") if kind == words.REPLICA else "",
            machine=rented.machine,
            pricing_model=rented.pricing_model,
            picousd_per_hour=rented.picousd_per_hour,
            minimum_billing_s=rented.minimum_billing_s,
            started_s=now_s,
            ready_s=ready_s,
            seen_s=now_s,
        )
        records[venue.name] = self._unsaved[record.id] = record

    def _renew(self, records: dict[str, CapacityRecord], name: str, **times: float) -> None:
        record = msgspec.structs.replace(records[name], **times)
        records[name] = self._unsaved[record.id] = record

    def _stop(self, records: dict[str, CapacityRecord], name: str, stopped_s: float) -> None:
        if name in records:
            self._renew(records, name, seen_s=stopped_s, stopped_s=stopped_s)
            del records[name]

    async def _save(self) -> None:
        """Write what changed; what cannot be written now is written with the next change."""
        unsaved, self._unsaved = self._unsaved, {}

        def save(connection: Connection) -> None:
            capacity.save(connection, unsaved.values())

        try:
            if unsaved:
                await self._context.database.write(save)
        except StoreUnavailableError:
            self._unsaved = unsaved | self._unsaved
