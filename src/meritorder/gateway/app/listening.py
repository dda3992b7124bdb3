"""Sockets that servers listen on."""

import os
import socket
from pathlib import Path
from typing import Final

from meritorder.errors import ConfigError

_BACKLOG: Final = 4096
_PRIVATE: Final = 0o177


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        ConfigError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        what = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise ConfigError(what, where="server", fix="give another --port") from error


def listen_on_file(path: Path) -> socket.socket:
    """Return a socket that listens on a file, which only its owner may use.

    Raises:
        ConfigError: The file cannot be used.
    """
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(_PRIVATE)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen: {error.strerror or error}", where=str(path)) from error
    finally:
        os.umask(mask)
    listener.listen(_BACKLOG)
    return listener
