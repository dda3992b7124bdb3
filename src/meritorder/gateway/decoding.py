"""Work on large bodies, in processes of their own: a decoder holds Python's global lock until it is done.

So neither the event loop nor another thread waits for a body, whatever it contains.
"""

import asyncio
import atexit
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import LifoQueue
from typing import IO, Any, Final, TypeVar, cast

from meritorder.gateway.errors import DecodingError

Result = TypeVar("Result")

LARGE_BYTES: Final = 256 * 1024
"""From this size on, a body is decoded in another process; a smaller one takes a few milliseconds at worst."""

_PROCESSES: Final = 2
_PROGRAM: Final = f"from {__name__} import serve; serve()"


def is_large(*arguments: object) -> bool:
    """Tell whether arguments are large bodies, or contain some."""
    size = 0
    for argument in arguments:  # of every request: without a call for each
        size += len(argument) if type(argument) is bytes else _size_bytes(argument)
    return size > LARGE_BYTES


def run_now(function: Callable[..., Result], *arguments: Any) -> Result:  # noqa: ANN401 - the function's
    """Return what a function returns: called here for small bodies, in another process for large ones.

    Raises:
        DecodingError: The process ended, such as for lack of memory.
    """
    return _in_process(function, arguments) if is_large(*arguments) else function(*arguments)


async def run(function: Callable[..., Result], *arguments: Any) -> Result:  # noqa: ANN401 - the function's
    """Return what a function returns, as `run_now`, without blocking the event loop."""
    if not is_large(*arguments):
        return function(*arguments)
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _in_process, function, arguments)


def _size_bytes(argument: object) -> int:
    if isinstance(argument, bytes):
        return len(argument)
    if isinstance(argument, list | tuple):
        return sum(map(_size_bytes, argument))
    return getattr(argument, "size_bytes", 0)


class _Process:
    """A process that calls functions, one at a time; it ends with this one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - this program
                [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        try:
            stdin, stdout = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
            pickle.dump((function, arguments), stdin, protocol=5)
            stdin.flush()
            result, failure = pickle.load(stdout)  # noqa: S301 - our own process
        except (OSError, EOFError, pickle.UnpicklingError):
            self.end()
            raise DecodingError from None
        if failure is not None:
            raise failure.error()
        return cast("Result", result)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class _Failure:
    """An exception on its way between processes, whatever its constructor takes."""

    def __init__(self, error: Exception) -> None:
        self._kind, self._arguments, self._fields = type(error), error.args, vars(error)

    def error(self) -> Exception:
        error = self._kind.__new__(self._kind, *self._arguments)
        vars(error).update(self._fields)
        return error


def _in_process(function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    process = _FREE.get()
    try:
        return process.call(function, arguments)
    finally:
        _FREE.put(process)


def serve() -> None:
    """Call the functions that arrive on standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the gateway ends this process, by closing its input
    with suppress(EOFError):
        while True:
            function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the gateway
            answer: tuple[Any, _Failure | None]
            try:
                answer = function(*arguments), None
            except Exception as error:  # noqa: BLE001 - it is raised where the function was called
                answer = None, _Failure(error)
            del function, arguments
            pickle.dump(answer, sys.stdout.buffer, protocol=5)
            sys.stdout.buffer.flush()
            del answer


def _end_all() -> None:
    for process in _ALL:
        process.end()


_ALL: Final = [_Process() for _ in range(_PROCESSES)]
_THREADS: Final = ThreadPoolExecutor(_PROCESSES, "decoding")
_FREE: Final = LifoQueue[_Process]()
for _process in _ALL:
    _FREE.put(_process)
atexit.register(_end_all)
