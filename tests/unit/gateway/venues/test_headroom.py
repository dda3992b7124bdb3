"""How many deferrable requests an engine may take beside real-time work."""

import asyncio
import time

import pytest

from meritorder.gateway.config import LanesTable, VenueTable
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply
from meritorder.gateway.venues.headroom import Headroom
from meritorder.gateway.venues.venues import RunningRequest, Venue, Venues


class Engine:
    """An upstream that reports a given load."""

    name = "engine"

    def __init__(self) -> None:
        self.reported: EngineLoad | None = EngineLoad(running=0, waiting=0)
        self.fails = False

    async def load(self) -> EngineLoad | None:
        if self.fails:
            raise ZeroDivisionError
        return self.reported

    async def send(self, call: Call) -> Reply:
        raise NotImplementedError

    async def close(self) -> None:
        return


async def _run_deferrable(venue: Venue, count: int, tokens: int) -> None:
    for _ in range(count):
        venue.deferrable.append(RunningRequest(asyncio.create_task(asyncio.sleep(60)), tokens=tokens))


async def _sample_times(engine: Engine, venue: Venue, headroom: Headroom, times: int, running: int) -> None:
    for _ in range(times):
        engine.reported = EngineLoad(running=running, waiting=0)
        await headroom._sample(venue)


def _headroom() -> tuple[Engine, Venue, Headroom]:
    engine = Engine()
    table = VenueTable(name="engine", url="http://x", kind="vllm", models=["m"], max_concurrency=16)
    venue = Venue(table=table, upstream=engine, served={"m": "m"})
    return engine, venue, Headroom(Venues([venue]), LanesTable())


@pytest.mark.asyncio
async def test_headroom_follows_real_time_between_samples() -> None:
    engine, venue, headroom = _headroom()
    assert headroom.backfill(venue) == 0  # nothing was measured yet
    await _sample_times(engine, venue, headroom, 1, 0)
    assert headroom.backfill(venue) == 15
    await _run_deferrable(venue, 10, tokens=5)
    for _ in range(3):
        venue.add_realtime(streamed=False)
    assert headroom.backfill(venue) == 2
    venue.remove_realtime(1.0, None, prefilling=False)
    assert headroom.backfill(venue) == 3
    for running in venue.deferrable:
        running.task.cancel()


@pytest.mark.asyncio
async def test_real_time_prefills_go_first() -> None:
    engine, venue, headroom = _headroom()
    venue.add_realtime(streamed=True)
    await _sample_times(engine, venue, headroom, 1, 1)
    assert headroom.backfill(venue) == 0  # a sixteenth of the sequences may read prompts: one, and it is real time's
    venue.record_first_token(1.0, 0.1)
    assert headroom.backfill(venue) == 1


@pytest.mark.asyncio
async def test_foreign_sequences_are_in_every_sample() -> None:
    engine, venue, headroom = _headroom()
    await _run_deferrable(venue, 10, tokens=5)
    await _sample_times(engine, venue, headroom, 1, running=14)
    assert headroom.max_backfill(venue) == 15
    await _sample_times(engine, venue, headroom, 5, running=14)
    assert headroom.max_backfill(venue) == 11
    assert not any(running.preempted for running in venue.deferrable)
    await _sample_times(engine, venue, headroom, 5, running=18)
    assert sum(running.preempted for running in venue.deferrable) == 2  # eight strangers among sixteen sequences
    for running in venue.deferrable:
        running.task.cancel()


@pytest.mark.asyncio
async def test_preempts_sequence_with_fewest_tokens() -> None:
    _, venue, _ = _headroom()
    await _run_deferrable(venue, 15, tokens=5)
    await _run_deferrable(venue, 1, tokens=2)
    venue.add_realtime(streamed=True)
    assert [running.tokens for running in venue.deferrable if running.preempted] == [2]
    venue.add_realtime(streamed=True)
    assert [at for at, running in enumerate(venue.deferrable) if running.preempted] == [
        14,
        15,
    ]  # of equals, who came last
    for running in venue.deferrable:
        running.task.cancel()


@pytest.mark.asyncio
async def test_failed_sample_stops_backfill() -> None:
    engine, venue, headroom = _headroom()
    engine.fails = True
    looking = asyncio.create_task(headroom.run())
    await asyncio.sleep(0.05)
    assert headroom.backfill(venue) == 0
    engine.fails = False
    async with asyncio.timeout(5):
        while not headroom.backfill(venue):
            await asyncio.sleep(0.01)
    engine.fails = True
    async with asyncio.timeout(5):
        while headroom.backfill(venue):
            await asyncio.sleep(0.01)
    looking.cancel()


@pytest.mark.asyncio
async def test_quiet_engine_is_filled_gradually() -> None:
    engine, venue, headroom = _headroom()
    venue.add_realtime(streamed=False)
    await _sample_times(engine, venue, headroom, 1, 1)
    venue.remove_realtime(1.0, None, prefilling=False)
    await _sample_times(engine, venue, headroom, 1, 0)
    assert headroom.backfill(venue) == 1
    await _run_deferrable(venue, 1, tokens=0)
    assert headroom.backfill(venue) == 0
    venue.deferrable[0].tokens = 1
    assert headroom.backfill(venue) == 1
    for running in venue.deferrable:
        running.task.cancel()


@pytest.mark.asyncio
async def test_deferrable_prefill_is_preempted() -> None:
    engine, venue, headroom = _headroom()
    venue.add_realtime(streamed=False)
    await _sample_times(engine, venue, headroom, 1, 1)
    await _run_deferrable(venue, 3, tokens=5)
    await _run_deferrable(venue, 2, tokens=0)
    venue.add_realtime(streamed=False)
    assert not any(running.preempted for running in venue.deferrable)
    venue.max_prefilling = 2
    venue.add_realtime(streamed=True)
    assert [at for at, running in enumerate(venue.deferrable) if running.preempted] == [4]
    venue.add_realtime(streamed=True)
    venue.add_realtime(streamed=True)
    assert [at for at, running in enumerate(venue.deferrable) if running.preempted] == [3, 4]  # those that speak go on
    for running in venue.deferrable:
        running.task.cancel()


def test_recent_ttft_is_that_of_last_minute() -> None:
    _, venue, headroom = _headroom()
    assert headroom.recent_ttft() == (0, None)
    now_s = time.monotonic()
    venue.record_first_token(now_s - 120, 9.0)
    for milliseconds in range(1, 101):
        venue.record_first_token(now_s, milliseconds / 1000)
    assert headroom.recent_ttft() == (100, 0.099)
