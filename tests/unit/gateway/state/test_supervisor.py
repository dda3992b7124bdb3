import asyncio

import pytest

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state import supervisor
from meritorder.gateway.state.supervisor import Supervisor

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_OUTAGE_S", "_MIN_BACKOFF_S", "_MAX_BACKOFF_S"):
        monkeypatch.setattr(supervisor, name, 0.0)


class Task:
    """Raises each error in turn, and then runs until it is cancelled."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.is_steady = asyncio.Event()

    async def run(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.is_steady.set()
        await asyncio.sleep(60)


class PanicError(BaseException):
    """As of Rust: not an Exception."""


ERRORS = [
    PanicError(),
    RecursionError(),
    OverflowError(),
    KeyError("a"),
    EOFError(),
    asyncio.CancelledError(),
    MemoryError(),
]


async def test_any_failure_restarts_the_task() -> None:
    tasks, task = Supervisor(), Task(*ERRORS)
    tasks.start("work", task.run)
    await asyncio.wait_for(task.is_steady.wait(), 5)
    assert tasks.failures["work"] == len(ERRORS)
    assert tasks.failing() == ["work"]
    await tasks.stop()


async def test_outage_is_no_failure() -> None:
    tasks, task = Supervisor(), Task(*[StoreUnavailableError("gone")] * 5)
    tasks.start("work", task.run)
    await asyncio.wait_for(task.is_steady.wait(), 5)
    assert not tasks.failures
    assert tasks.failing() == []
    await tasks.stop()


async def test_steady_task_has_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_STEADY_S", 0.0)
    tasks, task = Supervisor(), Task(ValueError())
    tasks.start("work", task.run)
    await asyncio.wait_for(task.is_steady.wait(), 5)
    await asyncio.sleep(0.001)
    assert tasks.failing() == []
    await tasks.stop()


async def test_kind_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    tasks, task = Supervisor(), Task(*(ValueError(str(number)) for number in range(20)), KeyError("a"))
    tasks.start("work", task.run)
    await asyncio.wait_for(task.is_steady.wait(), 5)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == ["work failed: 0", "work failed: 'a'"]
    await tasks.stop()


async def test_items_fail_alone() -> None:
    tasks, done = Supervisor(), []

    async def action(item: int) -> None:
        if item % 2:
            raise RecursionError
        done.append(item)

    await tasks.run_each("work", range(6), action)
    assert done == [0, 2, 4]
    assert tasks.failures["work"] == 3


async def test_outage_stops_all_items() -> None:
    async def action(_: int) -> None:
        raise StoreUnavailableError("gone")

    with pytest.raises(StoreUnavailableError):
        await Supervisor().run_each("work", range(6), action)
