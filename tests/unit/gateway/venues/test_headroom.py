"""The pace of real time, and the room beside it, as they change from one moment to the next."""

import asyncio

import pytest

from meritorder.gateway.config import LanesTable, VenueTable
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply
from meritorder.gateway.venues.headroom import Headroom
from meritorder.gateway.venues.venues import RunningRequest, StreamPace, Venue, Venues
from meritorder.gateway.wire.usage import StreamMeter

EVENT = b"data: {}\n\n"


class Engine:
    """An upstream that says what load it is told to say."""

    name = "engine"

    def __init__(self) -> None:
        self.says: EngineLoad | None = EngineLoad(running=0, waiting=0)
        self.fails = False

    async def load(self) -> EngineLoad | None:
        if self.fails:
            raise ZeroDivisionError
        return self.says

    async def send(self, call: Call) -> Reply:
        raise NotImplementedError

    async def close(self) -> None:
        return


def test_pace_of_streams_in_progress() -> None:
    pace, fast, slow = StreamPace(), StreamMeter(), StreamMeter()
    pace.add(fast)
    pace.add(slow)
    assert pace.sample_tpot_s(10.0) is None  # nothing to compare with
    for second in range(1, 3):
        fast.feed(EVENT * 9)
        slow.feed(EVENT)
        assert pace.sample_tpot_s(10.0 + second) == pytest.approx(0.2)
    pace.remove(slow)
    for second in range(3, 9):
        fast.feed(EVENT * 9)
        late = pace.sample_tpot_s(10.0 + second)
    assert late == pytest.approx(1 / 9)


def test_too_few_tokens_no_pace() -> None:
    pace, meter = StreamPace(), StreamMeter()
    pace.add(meter)
    pace.sample_tpot_s(1.0)
    meter.feed(EVENT * 3)
    assert pace.sample_tpot_s(2.0) is None
    meter.feed(EVENT)
    assert pace.sample_tpot_s(3.0) == pytest.approx(0.5)


async def _seated(venue: Venue, count: int, tokens: int) -> None:
    for _ in range(count):
        venue.deferrable.append(RunningRequest(asyncio.create_task(asyncio.sleep(60)), tokens=tokens))


async def _looked(engine: Engine, venue: Venue, headroom: Headroom, times: int, running: int) -> None:
    for _ in range(times):
        engine.says = EngineLoad(running=running, waiting=0)
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
    await _looked(engine, venue, headroom, 1, 0)
    assert headroom.backfill(venue) == 15
    await _seated(venue, 10, tokens=5)
    for _ in range(3):
        venue.add_realtime(streamed=False)
    assert headroom.backfill(venue) == 2
    venue.remove_realtime(1.0, None, prefilling=False)
    assert headroom.backfill(venue) == 3
    for seat in venue.deferrable:
        seat.task.cancel()


@pytest.mark.asyncio
async def test_real_time_prefills_go_first() -> None:
    engine, venue, headroom = _headroom()
    venue.add_realtime(streamed=True)
    await _looked(engine, venue, headroom, 1, 1)
    assert headroom.backfill(venue) == 1  # an eighth of the seats may read prompts: two, and one of them does
    venue.add_realtime(streamed=True)
    assert headroom.backfill(venue) == 0
    venue.record_first_token(1.0, 0.1)
    assert headroom.backfill(venue) == 1


@pytest.mark.asyncio
async def test_foreign_sequences_are_in_every_sample() -> None:
    engine, venue, headroom = _headroom()
    await _seated(venue, 10, tokens=5)
    await _looked(engine, venue, headroom, 1, running=14)
    assert headroom.max_backfill(venue) == 15
    await _looked(engine, venue, headroom, 5, running=14)
    assert headroom.max_backfill(venue) == 11
    assert not any(seat.preempted for seat in venue.deferrable)
    await _looked(engine, venue, headroom, 5, running=18)
    assert sum(seat.preempted for seat in venue.deferrable) == 2  # eight strangers on sixteen seats
    for seat in venue.deferrable:
        seat.task.cancel()


@pytest.mark.asyncio
async def test_preempts_sequence_with_fewest_tokens() -> None:
    _, venue, _ = _headroom()
    await _seated(venue, 15, tokens=5)
    await _seated(venue, 1, tokens=2)
    venue.add_realtime(streamed=True)
    assert [seat.tokens for seat in venue.deferrable if seat.preempted] == [2]
    venue.add_realtime(streamed=True)
    assert [at for at, seat in enumerate(venue.deferrable) if seat.preempted] == [14, 15]  # of equals, who came last
    for seat in venue.deferrable:
        seat.task.cancel()


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
    await _looked(engine, venue, headroom, 1, 1)
    venue.remove_realtime(1.0, None, prefilling=False)
    await _looked(engine, venue, headroom, 1, 0)
    assert headroom.backfill(venue) == 2
    await _seated(venue, 2, tokens=0)
    assert headroom.backfill(venue) == 0
    venue.deferrable[0].tokens = 1
    assert headroom.backfill(venue) == 1
    for seat in venue.deferrable:
        seat.task.cancel()


@pytest.mark.asyncio
async def test_deferrable_prefill_is_preempted() -> None:
    engine, venue, headroom = _headroom()
    venue.add_realtime(streamed=False)
    await _looked(engine, venue, headroom, 1, 1)
    await _seated(venue, 3, tokens=5)
    await _seated(venue, 2, tokens=0)
    venue.add_realtime(streamed=False)
    assert not any(seat.preempted for seat in venue.deferrable)
    venue.add_realtime(streamed=True)
    assert [at for at, seat in enumerate(venue.deferrable) if seat.preempted] == [4]
    venue.add_realtime(streamed=True)
    venue.add_realtime(streamed=True)
    assert [at for at, seat in enumerate(venue.deferrable) if seat.preempted] == [3, 4]  # those that speak go on
    for seat in venue.deferrable:
        seat.task.cancel()
