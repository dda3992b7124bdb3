"""A clock that no step moves at once, and waiting for events in loops that also run at intervals."""

import asyncio
import time

import pytest

from meritorder.gateway.state import clock as module
from meritorder.gateway.state.clock import Clock, wait_until_set

HOUR_S = 3600.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds since the machine started, as its only item."""
    steady = [1000.0]
    monkeypatch.setattr(module, "steady_s", lambda: steady[0])
    return steady


@pytest.fixture
def clock(machine: list[float]) -> Clock:  # noqa: ARG001 - which it reads
    """A clock at the time 5000."""
    clock = Clock()
    clock.follow(5000.0)
    assert clock.now_s() == 5000.0
    return clock


@pytest.mark.parametrize("step_s", [5 * HOUR_S, -5 * HOUR_S])
def test_step_is_followed_when_it_lasts(
    clock: Clock, machine: list[float], caplog: pytest.LogCaptureFixture, step_s: float
) -> None:
    machine[0] += 3
    clock.follow(5003 + step_s)
    assert (clock.now_s(), clock.has_stepped, clock.step_s) == (5003.0, True, step_s)
    assert f"was set {'forward' if step_s > 0 else 'back'} by 18000 s" in caplog.text
    machine[0] += 599
    clock.follow(5602 + step_s)
    assert clock.now_s() == 5602.0
    machine[0] += 1
    clock.follow(5603 + step_s)
    assert (clock.now_s(), clock.has_stepped, clock.step_s) == (5603.0 + step_s, False, 0.0)
    assert len(caplog.records) == 2


def test_step_that_is_undone_has_no_effect(clock: Clock, machine: list[float]) -> None:
    clock.follow(5000 + HOUR_S)
    machine[0] += 300
    clock.follow(5300.0)
    assert (clock.now_s(), clock.has_stepped) == (5300.0, False)
    machine[0] += 400
    clock.follow(5700 + HOUR_S)
    assert clock.now_s() == 5700.0, "the ten minutes begin again"


def test_small_corrections_are_followed_at_once(clock: Clock) -> None:
    clock.follow(5004.0)
    assert (clock.now_s(), clock.has_stepped) == (5004.0, False)


def test_wall_clock_is_where_it_starts() -> None:
    assert abs(Clock().now_s() - time.time()) < 1


@pytest.mark.asyncio
async def test_time_ends_the_wait() -> None:
    event = asyncio.Event()
    await asyncio.wait_for(wait_until_set(event, 0.01), 5)
    assert not event.is_set()


@pytest.mark.asyncio
async def test_event_ends_the_wait() -> None:
    event = asyncio.Event()
    wait = asyncio.create_task(wait_until_set(event, 60.0))
    await asyncio.sleep(0)
    event.set()
    await asyncio.wait_for(wait, 5)


@pytest.mark.asyncio
@pytest.mark.parametrize("steps", range(5))
async def test_cancellation_near_event_is_not_lost(steps: int) -> None:
    """A loop ends in whichever step of the event loop after the event it is cancelled."""
    event = asyncio.Event()

    async def repeat() -> None:
        while True:
            await wait_until_set(event, 60.0)
            event.clear()

    loop = asyncio.create_task(repeat())
    await asyncio.sleep(0)
    event.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    loop.cancel()
    await asyncio.wait((loop,), timeout=1)
    assert loop.cancelled()
