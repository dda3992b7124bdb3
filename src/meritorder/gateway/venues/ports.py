"""Ports reserved for processes that this one starts, so that no other process takes them in between."""

import socket
import sys
from typing import Final

_CAN_RESERVE: Final = sys.platform == "linux"  # elsewhere a bound port cannot be listened at by another process


class ReservedPort:
    """A free port of 127.0.0.1, which the system gives to no other process until it is released.

    A process that listens at it by its number still can, if it sets SO_REUSEADDR or SO_REUSEPORT, as servers do.
    """

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.bind(("127.0.0.1", 0))
        self.number: int = self._holder.getsockname()[1]
        if _CAN_RESERVE:  # set only now: a port that is bound with them may be another's
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        else:
            self.release()

    def release(self) -> None:
        """Let the system give the port to any process."""
        self._holder.close()
