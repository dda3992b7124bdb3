"""Waiting for events in loops that also run at intervals."""

import asyncio
import contextlib


async def wait_until_set(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until an event is set or the time is over.

    Not with `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes with the event.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
