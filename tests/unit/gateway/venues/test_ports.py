"""A reserved port is nobody's but that of the process which is told its number."""

import errno
import socket

import pytest

from meritorder.gateway.venues.ports import ReservedPort


def test_named_server_listens_at_reserved_port() -> None:
    port = ReservedPort()
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port.number))
        server.listen()
        with socket.create_connection(("127.0.0.1", port.number)):
            pass
    port.release()


def test_reserved_port_answers_nobody() -> None:
    port = ReservedPort()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port.number)):
        pass
    port.release()


def test_released_port_is_free() -> None:
    port = ReservedPort()
    with socket.socket() as other, pytest.raises(OSError, match="in use") as caught:
        other.bind(("127.0.0.1", port.number))
    assert caught.value.errno == errno.EADDRINUSE
    port.release()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port.number))
