"""Engines are real processes here, small ones: how they start, are shared, stop, crash and never outlive us."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meritorder.gateway.errors import BrokenAnswerError, UnavailableError
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.openai import OpenAIVenue
from meritorder.gateway.upstreams.upstream import Call
from meritorder.gateway.venues import parent_watchdog
from meritorder.gateway.venues.engines import Engine, EngineCommand, EngineState

pytestmark = pytest.mark.asyncio

SCRIPT = Path(__file__).parents[3] / "samples" / "engine.py"


def engine(mode: str = "", states: list[EngineState] | None = None, **rules: float | None) -> Engine:
    endpoint = Endpoint(name="small", base_url="http://127.0.0.1:{port}/v1")
    command = EngineCommand(
        argv=(sys.executable, str(SCRIPT), "{port}", mode),
        venue=OpenAIVenue(endpoint=endpoint, reads_load=True),
        **{"start_s": 20.0, "grace_s": 2.0} | rules,
    )
    return Engine(command, clock=time.monotonic, changed=(states if states is not None else []).append)


async def ask(venue: Engine, takes_s: float = 0.0, timeout_s: float | None = None) -> int:
    """Return the process id that answers."""
    body = json.dumps({"takes_s": takes_s}).encode()
    call = Call(path="/v1/chat/completions", body=body, stream=False, model="m", timeout_s=timeout_s)
    reply = await venue.send(call)
    try:
        return json.loads(await reply.read())["pid"]
    finally:
        await reply.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


async def until(holds, within_s: float = 15.0) -> None:  # noqa: ANN001
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.02)


async def test_concurrent_requests_share_one_start() -> None:
    states: list[EngineState] = []
    venue = engine(states=states)
    pids = await asyncio.gather(*(ask(venue) for _ in range(5)))
    assert len(set(pids)) == 1
    await venue.close()
    assert not alive(pids[0])
    assert states == [EngineState.STARTING, EngineState.READY, EngineState.STOPPING, EngineState.STOPPED]


async def test_idle_engine_stops_and_restarts() -> None:
    venue = engine(idle_s=0.3)
    first = await ask(venue)
    await until(lambda: venue.state is EngineState.STOPPED)
    assert not alive(first)
    second = await ask(venue)
    assert second != first
    await venue.close()


async def test_long_request_is_not_idle() -> None:
    venue = engine(idle_s=0.2)
    first = await ask(venue)
    assert await ask(venue, takes_s=0.8) == first
    await venue.close()


async def test_planned_engine_keeps_running() -> None:
    venue = engine(idle_s=0.1)
    venue.keep_running = True
    await venue.start()
    await asyncio.sleep(0.6)
    assert venue.state is EngineState.READY
    venue.keep_running = False
    await until(lambda: venue.state is EngineState.STOPPED)
    await venue.close()


async def test_failed_start_reports_last_output() -> None:
    venue = engine("fails")
    with pytest.raises(UnavailableError, match="code 3 before it was ready: CUDA out of memory"):
        await venue.start()
    with pytest.raises(UnavailableError, match="will be retried") as caught:
        await ask(venue)
    assert caught.value.retry_after_s
    assert venue.state is EngineState.STOPPED
    await venue.close()


async def test_missing_command_is_reported() -> None:
    endpoint = Endpoint(name="small", base_url="http://127.0.0.1:{port}")
    command = EngineCommand(argv=("no-such-engine", "{port}"), venue=OpenAIVenue(endpoint=endpoint))
    venue = Engine(command, clock=time.monotonic)
    with pytest.raises(UnavailableError, match="no-such-engine: No such file"):
        await venue.start()
    await venue.close()


async def test_unshared_port_is_released(caplog: pytest.LogCaptureFixture) -> None:
    venue = engine("shares no port")
    await ask(venue)
    await venue.close()
    assert "at another port" in caplog.text


async def test_slow_start_times_out() -> None:
    venue = engine("never ready", start_s=0.5, grace_s=0.5)
    with pytest.raises(UnavailableError, match=r"not ready within 0\.5 s"):
        await venue.start()
    await venue.close()


async def test_start_continues_after_impatient_request() -> None:
    venue = engine()
    with pytest.raises(UnavailableError, match="still starting"):
        await ask(venue, timeout_s=0.01)
    await until(lambda: venue.state is EngineState.READY)
    await ask(venue, timeout_s=5.0)
    await venue.close()


async def test_killed_engine_is_restarted() -> None:
    venue = engine()
    pid = await ask(venue)
    asked = asyncio.create_task(ask(venue, takes_s=30.0))
    await until(lambda: venue.in_flight == 1)
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(BrokenAnswerError):
        await asked
    await until(lambda: venue.state is EngineState.STOPPED)
    assert await ask(venue) != pid
    await venue.close()


async def test_silent_engine_is_stopped() -> None:
    venue = engine("goes silent", silent_s=1.0, grace_s=0.5)
    pid = await ask(venue)
    await until(lambda: venue.state is EngineState.STOPPED)
    assert not alive(pid)
    await venue.close()


async def test_stopped_engine_has_no_load() -> None:
    venue = engine()
    stopped = await venue.load()
    assert stopped is not None
    assert (stopped.running, stopped.waiting) == (0, 0)
    assert venue.state is EngineState.STOPPED  # to ask does not start it
    await venue.start()
    running = await venue.load()
    assert running is not None
    assert running.kv_cache_share == 0.0
    await venue.close()


async def test_stop_ends_child_processes(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    venue = engine(f"has a child:{noted}")
    await venue.start()
    child = int(noted.read_text())
    assert alive(child)
    await venue.close()
    await until(lambda: not alive(child))


async def test_stop_during_start() -> None:
    venue = engine()
    starting = asyncio.create_task(venue.start())
    await until(lambda: venue.state is EngineState.STARTING)
    await venue.close()
    results = await asyncio.gather(starting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert venue.state is EngineState.STOPPED


async def test_engine_ends_with_killed_gateway(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    inner = f"import os, time, pathlib; pathlib.Path({str(noted)!r}).write_text(str(os.getpid())); time.sleep(600)"
    command = [sys.executable, "-I", parent_watchdog.__file__, "0.5", sys.executable, "-c", inner]
    gateway = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, time\nsubprocess.Popen({command!r}, stdin=-1)\ntime.sleep(600)"]
    )
    await until(lambda: noted.exists() and noted.read_text())
    pid = int(noted.read_text())
    assert alive(pid)
    gateway.kill()
    gateway.wait()
    await until(lambda: not alive(pid))
