"""Three gateways over one PostgreSQL: what random kills lose or double, and processor time beside one gateway."""

import json
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.peers import postgres

from bench import kills
from bench._gateway import Gateway, Process
from bench.gateway import cores, load

GATEWAYS: Final = 3
KILLS: Final = 100
LINES: Final = 2500
_SECONDS: Final = 4.0
_ROUNDS: Final = 5
_CONNECTIONS: Final = 24  # of all gateways together


def run(kill_count: int = KILLS, lines: int = LINES, rounds: int = _ROUNDS) -> dict[str, Any]:
    """Kill gateways, and compare their processor time with that of one."""
    survived = kills.survive("postgresql", kill_count, lines, gateways=GATEWAYS, faults=("gateway",))
    return {"killed": survived, "processor_time": _processor_time(rounds)}


def _processor_time(rounds: int) -> dict[str, float]:
    """Return the processor time of a real-time request, of one gateway and of all in turns."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        store = stack.enter_context(postgres.server()).url
        engine = stack.enter_context(Process(["-m", "bench._stub"], folder / "stub.log"))
        gateways = []
        for number in range(GATEWAYS):
            own = folder / str(number)
            own.mkdir()
            blobs = f"file://{folder}/blobs"
            gateways.append(stack.enter_context(Gateway(own, engine.url, store=store, blobs=blobs, max_sequences=256)))
        alone, together = [], []
        for _ in range(rounds):
            alone.append(_cpu_s_per_request(gateways[:1], gateways))
            together.append(_cpu_s_per_request(gateways, gateways))
        return {
            "one_gateway_cpu_s": statistics.median(alone),
            "three_gateways_cpu_s": statistics.median(together),
            "ratio": statistics.median(three / one for three, one in zip(together, alone, strict=True)),
        }


def _cpu_s_per_request(loaded: list[Gateway], gateways: list[Gateway]) -> float:
    """Load gateways in closed loops; return the processor time of all per request."""
    before_s = sum(gateway.cpu_s() for gateway in gateways)
    share = _CONNECTIONS // len(loaded)
    ask = partial(load, key="none", form="whole", seconds=_SECONDS, core=cores()[1], connections=share)
    with ThreadPoolExecutor(len(loaded)) as threads:
        figures = list(threads.map(ask, [gateway.url for gateway in loaded]))
    requests = sum(figure["requests_per_s"] for figure in figures) * _SECONDS
    return (sum(gateway.cpu_s() for gateway in gateways) - before_s) / requests


if __name__ == "__main__":
    import sys

    print(json.dumps(run(*map(int, sys.argv[1:])), indent=1))
