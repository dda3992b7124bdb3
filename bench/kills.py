"""SIGKILL of the gateway and the engine at random times during a batch: lines lost, doubled and late."""

import json
import os
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import openai
from openai import OpenAI
from tests.samples.stores import fresh_url

from bench._gateway import Engine, Gateway

KILLS: Final = 200
LINES: Final = 5000
_MAX_SEQUENCES: Final = 8
_TOKEN_S: Final = 0.05
_TOKENS: Final = 4
_WINDOW: Final = "2h"
_MAX_UPTIME_S: Final = 1.2
_TIMEOUT_S: Final = 3600.0


def run(kills: int = KILLS, lines: int = LINES, stores: tuple[str, ...] = ("sqlite", "postgresql")) -> dict[str, Any]:
    """Run the batch on each store."""
    return {store: _on(store, kills, lines) for store in stores}


class _Site:
    """A gateway and an engine that are killed and restarted at the same addresses."""

    def __init__(self, folder: Path, store: str) -> None:
        self._folder, self._store = folder, store
        self._engine_port, self._gateway_port = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{self._gateway_port}"
        self._start_engine()
        self._start_gateway()

    def _start_engine(self) -> None:
        self._engine = Engine(self._folder, max_sequences=_MAX_SEQUENCES, token_s=_TOKEN_S, port=self._engine_port)

    def _start_gateway(self) -> None:
        self._gateway = Gateway(
            self._folder, self._engine.url, store=self._store, port=self._gateway_port, max_sequences=_MAX_SEQUENCES
        )

    def kill_gateway(self) -> None:
        """Kill and restart the gateway."""
        self._gateway.kill()
        self._start_gateway()

    def kill_engine(self) -> None:
        """Kill and restart the engine."""
        self._engine.kill()
        self._start_engine()

    def stop(self) -> None:
        """Stop both."""
        self._gateway.stop()
        self._engine.stop()


class _RealTime(threading.Thread):
    """A client that calls continuously and ignores connection errors."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=10)
        self.outcomes: Counter[str] = Counter()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            try:
                self._client.chat.completions.create(
                    model="stub", messages=[{"role": "user", "content": "now"}], max_tokens=2
                )
                self.outcomes["answered"] += 1
            except openai.APIError:
                self.outcomes["failed"] += 1


def _on(store: str, kills: int, lines: int) -> dict[str, Any]:
    draw = random.Random(0)  # noqa: S311 - when to kill
    with tempfile.TemporaryDirectory() as name, fresh_url(store, Path(name), "kills") as url:
        site = _Site(Path(name), url)
        real_time = _RealTime(site.url)
        try:
            client = OpenAI(base_url=f"{site.url}/v1", api_key="none", max_retries=20, timeout=60)
            batch_id = _create(client, lines)
            real_time.start()
            done = {"gateway": 0, "engine": 0}
            for number in range(kills):
                time.sleep(draw.uniform(0.05, _MAX_UPTIME_S))
                which = "engine" if number % 4 == 3 else "gateway"
                getattr(site, f"kill_{which}")()
                done[which] += 1
            state = client.batches.retrieve(batch_id)
            in_time = state.status in {"validating", "in_progress"}
            real_time.ended.set()
            batch = _ended(client, batch_id)
            return {
                "kills": kills,
                "kills_of_gateway": done["gateway"],
                "kills_of_engine": done["engine"],
                "batch_lasted_to_the_last_kill": in_time,
                **_counts(client, batch, lines),
                "realtime_answered": real_time.outcomes["answered"],
                "realtime_failed": real_time.outcomes["failed"],
            }
        finally:
            real_time.ended.set()
            site.stop()


def _create(client: OpenAI, lines: int) -> str:
    content = b"".join(_line(number) for number in range(lines))
    file = client.files.create(file=("input.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window=_WINDOW,  # type: ignore[arg-type]
    )
    return batch.id


def _line(number: int) -> bytes:
    messages = [{"role": "user", "content": f"question {number}"}]
    body = {"model": "stub", "messages": messages, "max_tokens": _TOKENS}
    line = {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line).encode() + b"\n"


def _ended(client: OpenAI, batch_id: str) -> Any:  # noqa: ANN401 - the client's batch
    ends_s = time.perf_counter() + _TIMEOUT_S
    while time.perf_counter() < ends_s:
        batch = client.batches.retrieve(batch_id)
        if batch.status in {"completed", "failed", "expired", "cancelled"}:
            return batch
        time.sleep(0.5)
    raise RuntimeError(f"the batch is still {batch.status}")


def _counts(client: OpenAI, batch: Any, lines: int) -> dict[str, Any]:  # noqa: ANN401
    answered = [line for file in (batch.output_file_id, batch.error_file_id) if file for line in _lines(client, file)]
    by_id = Counter(line["custom_id"] for line in answered)
    wrong = sum(1 for line in answered if not line["response"] or line["response"]["status_code"] != 200)
    return {
        "status": batch.status,
        "lines": lines,
        "results": len(answered),
        "lost": lines - len(by_id),
        "doubled": sum(count - 1 for count in by_id.values()),
        "failed_lines": wrong,
        "deadlines_missed": sum(1 for line in answered if (line["error"] or {}).get("code") == "batch_expired"),
    }


def _lines(client: OpenAI, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    import sys

    print(run(int(sys.argv[1]), int(sys.argv[2]), tuple(sys.argv[3:]) or ("sqlite",)), os.getpid())
