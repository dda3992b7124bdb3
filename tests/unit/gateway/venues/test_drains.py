"""A draining venue: nothing new, and what is unfinished is returned before the notice ends."""

import asyncio
from pathlib import Path

import pytest

from meritorder.gateway import config_file
from meritorder.gateway.config import LanesTable
from meritorder.gateway.peers import Peers
from meritorder.gateway.venues import drains, venues
from meritorder.gateway.venues.drains import Drains
from meritorder.gateway.venues.headroom import Headroom
from meritorder.gateway.venues.venues import RunningRequest, Venues


def build() -> Venues:
    served = [{"name": name, "url": "http://x", "models": ["m"]} for name in ("spot", "other")]
    return venues.build_venues(config_file.parse_settings({"venue": served}, where="test"))


def running(*, urgent: bool = False) -> RunningRequest:
    return RunningRequest(task=asyncio.create_task(asyncio.sleep(60)), urgent=urgent)


@pytest.mark.asyncio
async def test_draining_venue_admits_nothing() -> None:
    known = build()
    spot, other = known.all
    headroom, drained = Headroom(known, LanesTable()), Drains(known)
    drained.start(spot, 120.0)
    assert (headroom.capacity(spot), headroom.backfill(spot), headroom.is_up(spot)) == (0, 0, False)
    assert headroom.capacity(other) > 0
    drained.end(spot)
    assert headroom.capacity(spot) > 0


@pytest.mark.asyncio
async def test_without_notice_all_return_at_once() -> None:
    known = build()
    spot, other = known.all
    spot.deferrable, other.deferrable = [running(), running(urgent=True)], [running()]
    Drains(known).start(spot, 0.0)
    assert [request.preempted for request in spot.deferrable] == [True, True]
    assert not other.deferrable[0].preempted
    await asyncio.sleep(0)
    assert all(request.task.cancelled() for request in spot.deferrable)


@pytest.mark.asyncio
async def test_what_fits_the_notice_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(drains.time, "monotonic", lambda: now_s[0])
    known = build()
    spot = known.all[0]
    spot.deferrable = [running()]
    drained = Drains(known)
    drained.start(spot, 100.0)
    now_s[0] += 94.0
    drained._return_unfinished()
    assert not spot.deferrable[0].preempted
    now_s[0] += 1.5  # 5 s before the end
    drained._return_unfinished()
    assert spot.deferrable[0].preempted


@pytest.mark.asyncio
async def test_ended_drain_returns_nothing_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(drains.time, "monotonic", lambda: now_s[0])
    known = build()
    spot = known.all[0]
    spot.deferrable = [running()]
    drained = Drains(known)
    drained.start(spot, 100.0)
    drained.end(spot)
    now_s[0] += 200.0
    drained._return_unfinished()
    assert not spot.deferrable[0].preempted


def test_peers_drain_together(tmp_path: Path) -> None:
    known = [build() for _ in range(2)]
    first, second = (Drains(venues, Peers(tmp_path, 2)) for venues in known)
    first.start(known[0].all[0], 60.0)
    second.start(known[1].all[1], 60.0)
    first._read()
    assert [venue.is_draining for venue in known[0].all] == [True, True]
    second.end(known[1].all[0])
    first._read()
    assert [venue.is_draining for venue in known[0].all] == [False, True]
