"""A transport that sends what is written in two turns of the event loop by one system call."""

import asyncio
from typing import Any, Final

_MAX_HELD_BYTES: Final = 2**16


class JoinedWrites(asyncio.Transport):
    """A transport around another.

    An answer is written in parts, its head first; each would be a system call, and wake the client.

    Args:
        transport: The other transport.
    """

    __slots__ = ("_held", "_held_bytes", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, at the latest when the callbacks that are ready now, and those that they schedule, have run.

        So the end of an answer, before which its ledger entry is written, goes out with what precedes it.
        """
        if not self._held:
            self._loop.call_soon(self._loop.call_soon, self._flush)
        self._held.append(bytes(data))
        self._held_bytes += len(data)
        if self._held_bytes > _MAX_HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        """Close once all is written."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held, self._held_bytes = [], 0
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Return how much is not sent yet."""
        return self._held_bytes + self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Return whether it is closed, or about to be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - the other transport's
        """Return what the other transport knows of its socket."""
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Set the protocol."""
        self._transport.set_protocol(protocol)

    def pause_reading(self) -> None:
        """Stop reading."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._transport.resume_reading()
