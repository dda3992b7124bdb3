"""The web application over a gateway that needs no process: keys of two tenants, a backlog's ledger, a plan."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import uvicorn
from tests.samples.ledgers import replica
from tests.samples.plan import week

from meritorder.errors import ConfigError
from meritorder.gateway.app.client import GatewayClient, KeyRefusedError
from meritorder.metering.capacity import Paid
from meritorder.records.autopilot import APPLIED, Change, Decision
from meritorder.records.planfile import write_plan
from meritorder.records.receipts import SettledQuote
from meritorder.study.autopilot.log import DecisionLog
from meritorder.study.ledger.attempts import from_columns
from meritorder.web.access import Access
from meritorder.web.app import Site, create_app
from meritorder.web.gateway import Gateway
from meritorder.web.pages.live import LiveGateway

HOSTILE = "<script>alert(1)</script>"
BATCH = {
    "id": "batch_1",
    "model": "m",
    "status": "in_progress",
    "created_at": 0,
    "paused_at": None,
    "output_file_id": None,
    "error_file_id": None,
    "request_counts": {"completed": 1, "failed": 0, "total": 4},
}
DONE = BATCH | {
    "id": "batch_2",
    "status": "completed",
    "output_file_id": "file_1",
    "request_counts": {"completed": 3990, "failed": 10, "total": 4000},
}


class KnownKeys(Gateway):
    """A gateway that knows some keys, and remembers what it was asked to change."""

    def __init__(self) -> None:
        super().__init__("http://gateway")
        self.keys = {
            "admin": {"admin": True, "read_only": False, "tenant": "ops"},
            "tenant": {"admin": False, "read_only": False, "tenant": HOSTILE},
            "reader": {"admin": True, "read_only": True, "tenant": "ops"},
        }
        self.is_up = True
        self.acted: list[tuple[str, str, str]] = []

    async def ask(self, key: str, question: Callable[[Any], Any]) -> Any:
        if not self.is_up:
            raise ConfigError("cannot be reached", where=self.url)
        if key not in self.keys:
            raise KeyRefusedError("Incorrect API key provided", where=self.url)
        if question is GatewayClient.key:
            return {"id": f"key_{key}", "name": key, **self.keys[key]}
        return question(_Client(self.acted, key))


class _Client:
    """What a client of such a gateway answers."""

    def __init__(self, acted: list[tuple[str, str, str]], key: str) -> None:
        self._acted, self._key = acted, key

    def batches(self) -> tuple[list[Any], bool]:
        return [BATCH, DONE], False

    def batch(self, _: str) -> Any:
        return BATCH

    def act_on_batch(self, batch_id: str, action: str) -> None:
        self._acted.append((self._key, batch_id, action))


def backlog(_from_s: float, _to_s: float) -> tuple[pl.DataFrame, Sequence[Paid], Sequence[SettledQuote]]:
    """Return the ledger of a burst that real time needs several machines for, and that one worked off."""
    count, worked_off_s, epoch_s, rng = 2400, 160.0, time.time() - 3600, np.random.default_rng(0)
    arrived_s = np.sort(rng.uniform(0, 60.0, count))
    served_s = np.maximum(arrived_s, np.linspace(0, worked_off_s, count, endpoint=False))
    columns: dict[str, list[Any]] = {
        "request_id": [f"req_{number}" for number in range(count)],
        "tenant": [("ops", HOSTILE, "research")[number % 3] for number in range(count)],
        "workload": [("nightly", "evaluation")[number % 2] for number in range(count)],
        "lane": ["deferrable"] * count,
        "model": ["llama-3.1-8b"] * count,
        "venue": ["gpu"] * count,
        "replica": ["r0"] * count,
        "arrived_s": (epoch_s + arrived_s).tolist(),
        "started_s": (epoch_s + served_s).tolist(),
        "ended_s": (epoch_s + served_s + 8.0).tolist(),
        "deadline_s": (epoch_s + arrived_s + 7200).tolist(),
        "status_code": [200] * count,
        "outcome": ["answered"] * count,
        "input_tokens": rng.integers(100, 900, count).tolist(),
        "cached_tokens": [0] * count,
        "output_tokens": rng.integers(20, 300, count).tolist(),
    }
    return from_columns(columns), [replica(epoch_s, epoch_s + 300, "0.86", machine="runpod L40S")], ()


def status() -> dict[str, Any]:
    """Return the status of a gateway that works on a batch."""
    venue = {"name": HOSTILE, "models": ["m"], "up": True, "engine": None, "seats": 8, "realtime": 2, "deferrable": 5}
    batch = {"id": "batch_1", "tenant": HOSTILE, "status": "in_progress", "done": 90, "failed": 10, "total": 300}
    spent = {"lane": "deferrable", "model": "m", "venue": "own", "requests": 7, "input_tokens": 1, "output_tokens": 2}
    return {
        "plan": None,
        "venues": [venue | {"allowed": 6, "alert": None, "usd_per_hour": 0.86}],
        "queued": {"m": 190},
        "batches": [batch | {"expires_at": time.time() + 3600}],
        "realtime": {"streams_last_minute": 40, "ttft_s": 0.62, "slo_ttft_s": 2.0, "slo_attainment": 0.99},
        "ledger": [spent | {"cost_usd": 1.5}],
    }


@contextmanager
def serve_site(gateway: KnownKeys) -> Iterator[str]:
    """Yield the URL of the web application."""
    with tempfile.TemporaryDirectory() as folder:
        plan, log = Path(folder) / "plan.json", DecisionLog(Path(folder) / "autopilot")
        write_plan(week(), plan)
        change = Change(what=f"{HOSTILE} on demand, floor", before="1", after="2")
        log.append(
            Decision(
                id="d00001",
                at="2026-11-30T06:00:00Z",
                at_s=0.0,
                mode="apply",
                outcome=APPLIED,
                why="demand grew by a fifth",
                changes=[change],
                saves_usd_per_day=12.5,
            )
        )
        site = Site(
            access=Access(gateway=gateway),
            watch=lambda _: LiveGateway("http://gateway", status),
            read_ledger=backlog,
            plan_file=plan,
            decisions=log,
        )
        config = uvicorn.Config(
            create_app(("127.0.0.1",), site), port=0, log_level="error", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join()
