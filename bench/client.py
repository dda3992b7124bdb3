"""SIGKILL of a program that awaits calls, and of its gateway, at random times: each call answered once, in order."""

import contextlib
import json
import math
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx2

from bench._gateway import Engine, Gateway, Process
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.database import Database
from meritorder.metering import words

CALLS: Final = 5000
KILLS: Final = 200
_MAX_SEQUENCES: Final = 8
_TOKEN_S: Final = 0.05
_POLL_S: Final = 0.05
_SPREAD: Final = 0.9  # of the calls, over which the kills are spread
_TIMEOUT_S: Final = 1800.0
_UNFINISHED: Final = frozenset({words.PREEMPTED, words.RETRIED})


def run(
    calls: int = CALLS, kills: int = KILLS, token_s: float = _TOKEN_S, within_s: float = math.inf
) -> dict[str, Any]:
    """Kill program and gateway in turn while the calls are awaited; return what came of them.

    Kills are spread by what the engine was asked, not by time, and end when no call waits any more, or after
    `within_s`: a busy machine takes half a minute to start what was killed.
    """
    last_s = time.monotonic() + within_s
    draw = random.Random(0)  # noqa: S311 - when to kill
    kill_at = sorted(draw.uniform(0, _SPREAD * calls) for _ in range(kills))
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        out = folder / "answers.txt"
        engine = stack.enter_context(Engine(folder, max_sequences=_MAX_SEQUENCES, token_s=token_s))
        gateway = Gateway(folder, engine.url, max_sequences=_MAX_SEQUENCES)
        url, port = gateway.url, int(gateway.url.rpartition(":")[2])
        client = stack.enter_context(httpx2.Client(base_url=engine.url))
        asking = _ask(folder, url, out, calls)
        killed = {"program": 0, "gateway": 0}
        for number, asked in enumerate(kill_at):
            while (seen := _seen(client)).total() < asked and len(seen) < calls:
                time.sleep(_POLL_S)
            if len(seen) == calls or time.monotonic() > last_s:
                break
            if number % 2:
                gateway.kill()
                gateway = Gateway(folder, engine.url, port=port, max_sequences=_MAX_SEQUENCES)
                killed["gateway"] += 1
            else:
                asking.kill()
                asking = _ask(folder, url, out, calls)
                killed["program"] += 1
        asking.process.wait(_TIMEOUT_S)
        asking.stop()
        answered = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
        seen = _seen(client)
        gateway.stop()
        attempts, results = _ledger(f"sqlite:///{folder}/gateway.db")
    return {
        "calls": calls,
        **{f"{process}_kills": count for process, count in killed.items()},
        "lost": calls - len(answered),
        "out_of_order": sum(answer_id != f"call-{number}" for number, answer_id in enumerate(answered)),
        "not_asked": calls - len(seen),
        "results_in_ledger": results,
        "repeated_by_the_engine": seen.total() - len(seen),
        "repeated_in_ledger": attempts - calls,
        "most_in_flight_at_kills": killed["gateway"] * _MAX_SEQUENCES,
    }


def _ask(folder: Path, url: str, out: Path, calls: int) -> Process:
    return Process(["-m", "bench._asking", url, str(folder / "client.db"), str(out), str(calls)], folder / "asking.log")


def _seen(engine: httpx2.Client) -> Counter[str]:
    """Return how often the engine was asked each call."""
    return Counter(engine.get("/seen").json()["seen"])


def _ledger(url: str) -> tuple[int, int]:
    """Return the attempts at calls that the ledger counts, and the calls with a result."""
    with contextlib.closing(Database(url)) as database:
        rows = database.read_now(lambda connection: list(ledger.rows(connection)))
    last = [row for row in rows if row["outcome"] not in _UNFINISHED]
    return sum(row["attempt"] for row in last), len({row["request_seq"] for row in last})


if __name__ == "__main__":
    import sys

    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2])), indent=1))
