"""Three gateways over one PostgreSQL, two workers of one gateway: what kills lose, processor time beside one alone."""

import json
import math
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.peers import postgres

from bench._gateway import Gateway, Process
from bench.gateway import cores, load
from bench.kills import survive

GATEWAYS: Final = 3
WORKERS: Final = 2
KILLS: Final = 100
LINES: Final = 2500
_NETWORK: Final = ("gateway", "cut", "gateway", "delay", "gateway", "partition")
_SECONDS: Final = 4.0
_ROUNDS: Final = 5
_CONNECTIONS: Final = 24  # of each loaded process


def run(kills: int = KILLS, lines: int = LINES, rounds: int = _ROUNDS, within_s: float = math.inf) -> dict[str, Any]:
    """Kill gateways, also while their network fails as often, and workers; compare processor times.

    That of all gateways is compared with that of one, and that of workers with that of one process. Each of the three
    series of kills ends after `within_s` at the latest.
    """
    kill = partial(survive, lines=lines, within_s=within_s)
    survived = kill("postgresql", kills, gateways=GATEWAYS, faults=("gateway",))
    apart = kill("postgresql", 2 * kills, gateways=GATEWAYS, faults=_NETWORK)
    workers = kill("sqlite", kills, gateways=1, faults=("worker",), workers=WORKERS)
    return {
        "killed": survived,
        "killed_while_the_network_fails": apart,
        "killed_workers": workers,
        "gateways": _gateways(rounds),
        "workers": _workers(rounds),
    }


def _gateways(rounds: int) -> dict[str, float]:
    """Compare one of several gateways with all of them, while the others run idle."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        store = stack.enter_context(postgres.server()).url
        engine = stack.enter_context(Process(["-m", "bench._stub"], folder / "stub.log"))
        start = partial(Gateway, engine=engine.url, store=store, blobs=f"file://{folder}/blobs", max_sequences=256)
        gateways = [stack.enter_context(start(_new(folder, number))) for number in range(GATEWAYS)]
        return _compared(rounds, (gateways[:1], gateways), (gateways, gateways))


def _workers(rounds: int) -> dict[str, float]:
    """Compare one process with the workers of another gateway, with SQLite."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        engine = stack.enter_context(Process(["-m", "bench._stub"], folder / "stub.log"))
        start = partial(Gateway, engine=engine.url, max_sequences=256)
        one, several = (stack.enter_context(start(_new(folder, count), workers=count)) for count in (1, WORKERS))
        return _compared(rounds, ([one], [one]), ([several], [several]))


def _new(folder: Path, number: int) -> Path:
    own = folder / str(number)
    own.mkdir()
    return own


_Arm = tuple[list[Gateway], list[Gateway]]
"""The gateways that are loaded, and those whose processor time counts."""


def _compared(rounds: int, one: _Arm, several: _Arm) -> dict[str, float]:
    """Return the processor time of a real-time request in both arms, which have turns.

    Each process has as many connections as the one alone: with fewer, less of its work is done together.
    """
    figures = [(_cpu_s_per_request(*one), _cpu_s_per_request(*several)) for _ in range(rounds)]
    alone, together = (statistics.median(arm) for arm in zip(*figures, strict=True))
    ratio = statistics.median(more / less for less, more in figures)
    return {"one_cpu_s": alone, "several_cpu_s": together, "ratio": ratio}


def _cpu_s_per_request(loaded: list[Gateway], gateways: list[Gateway]) -> float:
    """Load gateways in closed loops, each process alike; return the processor time of gateways per request."""
    before_s = sum(gateway.cpu_s() for gateway in gateways)
    ask = partial(load, key="none", form="whole", seconds=_SECONDS, core=cores()[1])
    with ThreadPoolExecutor(len(loaded)) as threads:
        asked = [threads.submit(ask, gateway.url, connections=_CONNECTIONS * gateway.workers) for gateway in loaded]
        figures = [future.result() for future in asked]
    requests = sum(figure["requests_per_s"] for figure in figures) * _SECONDS
    return (sum(gateway.cpu_s() for gateway in gateways) - before_s) / requests


if __name__ == "__main__":
    import sys

    print(json.dumps(run(*map(int, sys.argv[1:])), indent=1))
