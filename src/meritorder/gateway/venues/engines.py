"""An engine that the gateway starts as a command when it is needed, monitors, and stops when it is idle."""

import asyncio
import contextlib
import logging
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from meritorder.gateway.errors import UnavailableError, UpstreamError
from meritorder.gateway.state.auth import new_id
from meritorder.gateway.upstreams.openai import OpenAIUpstream, OpenAIVenue
from meritorder.gateway.upstreams.retry import Breaker
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply, Wrapped
from meritorder.gateway.venues import parent_watchdog
from meritorder.gateway.venues.ports import ReservedPort

_PORT: Final = "{port}"
_LAST_LINES: Final = 20
_FIRST_POLL_S: Final = 0.05
_MAX_POLL_S: Final = 0.5
_PORTS_TRIED: Final = 3
_PORT_IN_USE: Final = re.compile(
    r"(address|port)\b.*\bin use|EADDRINUSE|(could not|couldn't|cannot|can't|failed to|unable to) bind", re.IGNORECASE
)

_log = logging.getLogger(__name__)


class EngineState(StrEnum):
    """The state of an engine."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCommand:
    """How to start an engine.

    Args:
        argv: The command, run without a shell; `{port}` in it stands for a free port, another if it ends because its
            port is in use.
        venue: Its API; `{port}` in the base URL stands for the same port.
        env: Environment variables added to our own.
        health_path: A path that answers 200 when the engine is ready.
        start_s: Longest time until it is ready.
        idle_s: Time without a request after which it is stopped; None keeps it running.
        silent_s: Time without an answer at its health path after which it is stopped.
        grace_s: Time from SIGTERM to SIGKILL.
    """

    argv: tuple[str, ...]
    venue: OpenAIVenue
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    health_path: str = "/health"
    start_s: float = 600.0
    idle_s: float | None = 300.0
    silent_s: float = 30.0
    grace_s: float = 10.0


class _EngineReply(Wrapped):
    """A reply of an engine; the engine is not idle until it is closed."""

    __slots__ = ("_engine",)

    def __init__(self, reply: Reply, engine: "Engine") -> None:
        super().__init__(reply)
        self._engine: Engine | None = engine

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.leave()
        await super().close()


class _EngineProcess:
    """The engine's process, from start to end."""

    def __init__(self, process: asyncio.subprocess.Process, upstream: OpenAIUpstream, port: ReservedPort) -> None:
        self.process = process
        self.upstream = upstream
        self._port = port
        self.lines: deque[str] = deque(maxlen=_LAST_LINES)
        self.reader = asyncio.create_task(self._read())
        self.watch: asyncio.Task[None] | None = None

    async def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - piped at the start
        while line := await self._line(self.process.stdout):
            text = line.decode(errors="replace").rstrip()
            self.lines.append(text)
            _log.debug("%s: %s", self.upstream.name, text)

    @staticmethod
    async def _line(stream: asyncio.StreamReader) -> bytes:
        try:
            return await stream.readline()
        except ValueError:  # longer than any line should be
            return b"...\n"

    async def healthy(self, path: str, timeout_s: float) -> bool:
        """Tell whether the engine answers its health check."""
        pool = self.upstream.pool
        try:
            reply = await pool.request("GET", pool.root_url(path), timeout_s=timeout_s)
            try:
                await reply.read()
            finally:
                await reply.close()
        except UpstreamError:
            return False
        return reply.status == 200

    async def end(self) -> None:
        """Signal the watchdog, and wait until the process and its children have ended."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        await self.process.wait()
        await self.reader
        await self.upstream.close()
        self._port.release()

    def lacked_port(self) -> bool:
        """Tell whether it has ended because its port was in use, by its output."""
        return self.process.returncode is not None and any(map(_PORT_IN_USE.search, self.lines))


class Engine:
    """An engine that runs while it is needed. See `upstream.Upstream`: a request starts it and waits until it is ready.

    Each start has an id of its own, `replica`.

    Args:
        command: How to start it.
        clock: Monotonic seconds.
        changed: Called with each new state.
    """

    def __init__(
        self,
        command: EngineCommand,
        *,
        clock: Callable[[], float],
        changed: Callable[[EngineState], None] = lambda _: None,
    ) -> None:
        self.name = command.venue.endpoint.name
        self.state = EngineState.STOPPED
        self.replica: str | None = None
        self.keep_running = False
        self.in_flight = 0
        self._command = command
        self._clock = clock
        self.changed = changed
        self._used_s = clock()
        self._run: _EngineProcess | None = None
        self._starting: asyncio.Task[_EngineProcess] | None = None
        self._stopping = asyncio.Lock()
        self._max_sequences = command.venue.max_sequences
        # A command that fails to start is not retried at once.
        self._breaker = Breaker(failures=1, cooldown_s=1.0)

    def _set_state(self, state: EngineState) -> None:
        if state is not self.state:
            self.state = state
            _log.info("%s is %s", self.name, state.value)
            self.changed(state)

    async def start(self) -> None:
        """Start the engine if it is not running, and return when it is ready.

        Raises:
            UnavailableError: It does not start; the message has the last line of its output.
        """
        await self._ready()

    async def _ready(self) -> _EngineProcess:
        if self._run is not None:
            return self._run
        if self._starting is None:
            wait_s = self._breaker.wait_s(self._clock())
            if wait_s > 0:
                raise UnavailableError("did not start and will be retried", venue=self.name, retry_after_s=wait_s)
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        # A waiting request may be cancelled; the start goes on.
        return await asyncio.shield(self._starting)

    def _started(self, task: asyncio.Task[_EngineProcess]) -> None:
        self._starting = None
        if not task.cancelled() and task.exception() is None:
            self._breaker.succeed(self._clock())
            return
        if not task.cancelled():
            self._breaker.fail(self._clock())
        self._set_state(EngineState.STOPPED)

    async def _start(self) -> _EngineProcess:
        async with self._stopping:  # until the previous process has ended
            pass
        self.replica = new_id("replica-")
        self._set_state(EngineState.STARTING)
        for attempt in range(1, _PORTS_TRIED + 1):
            # An engine that does not share its port with the reservation of it ends at once: it gets one without.
            run = await self._spawn(reserved=attempt < _PORTS_TRIED)
            try:
                await self._wait_until_ready(run)
            except BaseException as error:
                await asyncio.shield(run.end())
                if not isinstance(error, UnavailableError) or not run.lacked_port() or attempt == _PORTS_TRIED:
                    raise
                _log.warning("%s; it is started again, at another port", error)
            else:
                break
        self._run = run
        self._used_s = self._clock()
        run.watch = asyncio.create_task(self._watch(run))
        self._set_state(EngineState.READY)
        return run

    async def _spawn(self, *, reserved: bool) -> _EngineProcess:
        """Start the command at a free port, which stays reserved for it or not."""
        port = ReservedPort()
        number = str(port.number)
        endpoint = self._command.venue.endpoint
        endpoint = replace(endpoint, base_url=endpoint.base_url.replace(_PORT, number))
        try:
            if not reserved:
                port.release()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(Path(parent_watchdog.__file__)), str(self._command.grace_s)),
                *(part.replace(_PORT, number) for part in self._command.argv),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **self._command.env},
                start_new_session=True,
            )
        except BaseException:
            port.release()
            raise
        return _EngineProcess(process, OpenAIUpstream(replace(self._command.venue, endpoint=endpoint)), port)

    async def _wait_until_ready(self, run: _EngineProcess) -> None:
        ends_s = self._clock() + self._command.start_s
        poll_s = _FIRST_POLL_S
        while True:
            is_healthy = await run.healthy(self._command.health_path, timeout_s=5.0)
            if run.process.returncode is not None:
                await run.reader
                last = next((line for line in reversed(run.lines) if line.strip()), "no output")
                what = f"ended with code {run.process.returncode} before it was ready: {last[:200]}"
                raise UnavailableError(what, venue=self.name)
            if is_healthy:
                return
            if self._clock() > ends_s:
                raise UnavailableError(f"was not ready within {self._command.start_s:g} s", venue=self.name)
            await asyncio.sleep(poll_s)
            poll_s = min(poll_s * 1.5, _MAX_POLL_S)

    async def _watch(self, run: _EngineProcess) -> None:
        """Stop the engine when it is idle or no longer answers, and detect that it has ended by itself."""
        command = self._command
        poll_s = min(command.silent_s, command.idle_s or command.silent_s, 4.0) / 4
        answered_s = self._clock()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(poll_s):
                    await run.process.wait()
            if run.process.returncode is not None:
                _log.warning("%s ended unexpectedly with code %d", self.name, run.process.returncode)
                break
            idle = self.in_flight == 0 and not self.keep_running
            if idle and command.idle_s is not None and self._clock() - self._used_s >= command.idle_s:
                break
            if await run.healthy(command.health_path, timeout_s=command.silent_s / 2):
                answered_s = self._clock()
            elif self._clock() - answered_s >= command.silent_s:
                _log.warning("%s does not answer", self.name)
                break
        run.watch = None
        await self._end(run)

    async def _end(self, run: _EngineProcess) -> None:
        if self._run is not run:
            return
        self._run = None
        self._set_state(EngineState.STOPPING)
        async with self._stopping:
            if run.watch is not None:
                run.watch.cancel()
            await run.end()
        if self._starting is None:
            self._set_state(EngineState.STOPPED)

    async def stop(self) -> None:
        """Stop the engine, whatever its state."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._run is not None:
            await self._end(self._run)

    async def send(self, call: Call) -> Reply:
        """Send a request, once the engine is ready."""
        self.in_flight += 1
        try:
            run = self._run or await self._ready_within(call)
            return _EngineReply(await run.upstream.send(call), self)
        except BaseException:
            self.leave()
            raise

    async def _ready_within(self, call: Call) -> _EngineProcess:
        try:
            async with asyncio.timeout(call.timeout_s):
                return await self._ready()
        except TimeoutError:
            raise UnavailableError("is still starting", venue=self.name, retry_after_s=1.0) from None

    def leave(self) -> None:
        """Record the end of a request."""
        self.in_flight -= 1
        self._used_s = self._clock()

    async def load(self) -> EngineLoad | None:
        """Return the load that the engine reports; zero while it is stopped."""
        if self._run is None:
            return EngineLoad(running=0, waiting=0, kv_cache_share=0.0, max_sequences=self._max_sequences)
        load = await self._run.upstream.load()
        if load is not None:
            self._max_sequences = load.max_sequences or self._max_sequences
        return load

    async def close(self) -> None:
        """Stop the engine."""
        await self.stop()
