"""Ray: a cluster that runs, or one of this machine for as long as it is needed."""

import contextlib
import logging
import os
import socket
import warnings
from collections.abc import Iterator
from typing import Final

import ray

from meritorder.errors import ConfigError

_CONNECT_S: Final = 5.0


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to the cluster at an address, or start one here if it is empty; disconnect, or stop it, in the end.

    Raises:
        ConfigError: No cluster responds.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its errors reach us as exceptions
    logging.getLogger("ray").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"ray\.")
    try:
        if address:
            _check_reachable(address)
        where = {"address": address} if address else {"address": "local", "include_dashboard": False}
        ray.init(**where, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises no narrower one where a node does not start in time
        if not address:
            fix = "run it again when the machine is less busy, or on a cluster with --ray"
            raise ConfigError(f"Ray does not start: {error}", where="this machine", fix=fix) from error
        fix = "start one with ray start --head; if it needs a token, set RAY_AUTH_MODE=token; or omit --ray to run here"
        raise ConfigError(f"no Ray cluster responds at {address}", where="--ray", fix=fix) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise `OSError` if nothing listens at the address, which Ray itself reports only after minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
