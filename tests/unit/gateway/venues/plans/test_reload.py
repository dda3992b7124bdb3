"""The plan, read again while it is being executed."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.samples import nightly

from meritorder.gateway import config_file
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.venues import venues
from meritorder.gateway.venues.plans import matching as planned
from meritorder.gateway.venues.plans import reload as plan_reloader
from meritorder.gateway.venues.plans.executor import PlanExecutor
from meritorder.gateway.venues.plans.reload import PlanReloader
from meritorder.records.planfile import write_plan

NAMES = (nightly.LIVE, nightly.NIGHT)


async def empty_queue() -> list[QueuedRequests]:
    return []


class Site:
    """A plan file, and its executor and reloader."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "plan.json"
        write_plan(nightly.plan(), self.file)
        served = [{"name": name, "url": "http://x", "kind": "vllm", "models": ["stub"]} for name in NAMES]
        found: dict[str, Any] = {"venue": served, "plan": str(self.file)}
        settings = config_file.parse_settings(found, where="test")
        self.plan_executor = PlanExecutor(
            planned.read_plan(settings), venues.build_venues(settings), lambda: 0.0, empty_queue
        )
        self.plan_reloader = PlanReloader(settings, self.plan_executor)

    def slot_s(self) -> float:
        return (self.plan_executor.status() or {})["next_slot_at"]  # it is the beginning of the first

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():
                await asyncio.sleep(0.01)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(plan_reloader, "_CHECK_S", 0.05)
    return Site(tmp_path)


@pytest.mark.asyncio
async def test_changed_file_is_reloaded(site: Site) -> None:
    reading = asyncio.create_task(site.plan_reloader.run())
    assert site.slot_s() == 3600.0
    await asyncio.sleep(0.2)
    assert site.plan_reloader.status() == {"reread": 0, "refused": 0, "fault": None}, "nothing has changed"
    write_plan(nightly.plan(slot_s=1800.0), site.file)
    await site.until(lambda: site.slot_s() == 1800.0)
    assert site.plan_reloader.status() == {"reread": 1, "refused": 0, "fault": None}
    reading.cancel()


@pytest.mark.asyncio
async def test_rejected_plan_keeps_previous(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    reading = asyncio.create_task(site.plan_reloader.run())
    site.file.write_text("{")
    await site.until(lambda: site.plan_reloader.status()["refused"] == 1)
    await asyncio.sleep(0.2)
    (message,) = [record.getMessage() for record in caplog.records if record.name == plan_reloader.__name__]
    assert "the previous one stays" in message
    assert str(site.file) in message
    status = site.plan_reloader.status()
    assert (status["refused"], status["reread"]) == (1, 0), "it is read once, not all the time"
    assert "not a plan" in status["fault"]
    assert [values for name, *_, values in site.plan_reloader.gauges() if name == "meritorder_plan_fault"] == [
        [((), 1.0)]
    ]
    assert site.slot_s() == 3600.0
    site.file.unlink()
    await site.until(lambda: site.plan_reloader.status()["refused"] == 2)
    write_plan(nightly.plan(slot_s=1800.0), site.file)
    await site.until(lambda: site.slot_s() == 1800.0)
    assert site.plan_reloader.status() == {"reread": 1, "refused": 2, "fault": None}
    reading.cancel()


@pytest.mark.asyncio
async def test_signal_reloads_unchanged_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_reloader, "_CHECK_S", 3600.0)
    reading = asyncio.create_task(site.plan_reloader.run())
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGHUP)
    await site.until(lambda: site.plan_reloader.status()["reread"] == 1)
    reading.cancel()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
