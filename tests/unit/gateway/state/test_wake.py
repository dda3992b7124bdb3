"""Waiting for events in loops that also run at intervals."""

import asyncio

import pytest

from meritorder.gateway.state.wake import wait_until_set

pytestmark = pytest.mark.asyncio


async def test_time_ends_the_wait() -> None:
    event = asyncio.Event()
    await asyncio.wait_for(wait_until_set(event, 0.01), 5)
    assert not event.is_set()


async def test_event_ends_the_wait() -> None:
    event = asyncio.Event()
    wait = asyncio.create_task(wait_until_set(event, 60.0))
    await asyncio.sleep(0)
    event.set()
    await asyncio.wait_for(wait, 5)


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
