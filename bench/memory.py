"""Memory of the gateway over a million requests, with keys, metering, lanes and the ledger enabled."""

import itertools
import tempfile
from pathlib import Path
from typing import Any, Final

from bench._gateway import Gateway, Process
from bench.gateway import cores, load, new_key

_REQUESTS: Final = 1_000_000
_EVERY: Final = 50_000
_ROUND_S: Final = 4.0
_WARM: Final = 100_000  # pools and caches fill
_FORMS: Final = ("whole", "whole", "whole", "stream")


def run(requests: int = _REQUESTS) -> dict[str, Any]:
    """Send requests in a closed loop, one of four streamed, and sample the memory every 50,000 requests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core, other = cores()
        with Process(["-m", "bench._stub"], folder / "stub.log", core=other) as engine:
            key = new_key(folder, engine.url)
            with Gateway(folder, engine.url, keys=True, max_sequences=256, core=core) as gateway:
                return _sampled(gateway, key, other, requests)


def _sampled(gateway: Gateway, key: str, core: int, requests: int) -> dict[str, Any]:
    sent, next_sample, samples = 0, 0, dict[int, int]()
    forms = itertools.cycle(_FORMS)
    while sent < requests:
        sent += int(load(gateway.url, key, next(forms), seconds=_ROUND_S, core=core)["requests"])
        if sent >= next_sample:
            samples[sent], next_sample = gateway.rss_bytes(), sent + _EVERY
    late = {at: rss for at, rss in samples.items() if at >= min(_WARM, requests // 2)}
    return {
        "requests": sent,
        "rss_bytes_warm": next(iter(late.values())),
        "rss_bytes_end": gateway.rss_bytes(),
        "peak_rss_bytes": gateway.peak_rss_bytes(),
        "growth_bytes_per_request": _slope(late),
        "rss_bytes_by_requests": {str(at): rss for at, rss in samples.items()},
    }


def _slope(points: dict[int, int]) -> float:
    """Return the slope of the least-squares line."""
    mean_x, mean_y = sum(points) / len(points), sum(points.values()) / len(points)
    spread = sum((x - mean_x) ** 2 for x in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points.items()) / spread if spread else 0.0
