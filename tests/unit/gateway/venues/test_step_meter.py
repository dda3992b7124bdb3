"""Step times of an engine, observed on its streams."""

import asyncio
from typing import Final

import pytest
from tests.unit.gateway.venues.test_headroom import Engine

from meritorder.gateway.config import VenueTable
from meritorder.gateway.venues.step_meter import StepMeter
from meritorder.gateway.venues.venues import RunningRequest, Venue
from meritorder.gateway.wire.usage import StreamMeter

_SAMPLE_S: Final = 0.25
_WINDOW: Final = 9  # samples; the first only starts the clock


def _venue(deferrable: int) -> Venue:
    table = VenueTable(name="engine", url="http://x", kind="vllm", models=["m"], max_concurrency=16)
    venue = Venue(table=table, upstream=Engine(), served={"m": "m"})
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    venue.deferrable += [RunningRequest(done) for _ in range(deferrable)]  # type: ignore[arg-type]
    return venue


def _sample_window(meter: StepMeter, venue: Venue, *, foreign: int = 0, tokens_per_sample: int = 5) -> None:
    for number in range(_WINDOW):
        for running in venue.deferrable:
            running.tokens += tokens_per_sample if number else 0
        meter.sample(venue, foreign=foreign, now_s=_SAMPLE_S * number)


@pytest.mark.asyncio
async def test_step_is_time_per_token_of_a_sequence() -> None:
    meter, venue = StepMeter(), _venue(4)
    _sample_window(meter, venue)
    assert (meter.times.sequences, meter.times.step_s) == pytest.approx((4, 0.25 / 5))


@pytest.mark.asyncio
async def test_streams_that_end_count_their_last_tokens() -> None:
    meter, venue = StepMeter(), _venue(2)
    for number in range(_WINDOW):
        if number:
            for running in venue.deferrable:
                running.tokens += 5
            venue.deferrable[0] = RunningRequest(venue.deferrable[0].task)  # another one took its place
        meter.sample(venue, foreign=0, now_s=_SAMPLE_S * number)
    assert (meter.times.sequences, meter.times.step_s) == pytest.approx((2, 0.25 / 5))


@pytest.mark.asyncio
async def test_real_time_streams_count() -> None:
    meter, venue = StepMeter(), _venue(1)
    stream = StreamMeter()
    venue.realtime = 1
    venue.pace.add(stream)
    for number in range(_WINDOW):
        if number:
            stream.feed(b"data: {}\n\n" * 5)
            venue.deferrable[0].tokens += 5
        meter.sample(venue, foreign=0, now_s=_SAMPLE_S * number)
    assert (meter.times.sequences, meter.times.step_s) == pytest.approx((2, 0.25 / 5))


@pytest.mark.asyncio
async def test_windows_with_hidden_work_do_not_count() -> None:
    meter, venue = StepMeter(), _venue(4)
    _sample_window(meter, venue, foreign=1)
    venue.realtime = 1  # a whole answer: its tokens are not seen
    _sample_window(meter, venue)
    assert meter.times.weight == 0


@pytest.mark.asyncio
async def test_idle_windows_do_not_count() -> None:
    meter, venue = StepMeter(), _venue(0)
    _sample_window(meter, venue)
    assert meter.times.weight == 0
