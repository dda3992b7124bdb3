"""Ingestion of a batch of a million lines: lines per second, validated and durable, and the gateway's peak memory."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from openai import OpenAI

from bench._gateway import Engine, Gateway

LINES: Final = 1_000_000
_TIMEOUT_S: Final = 600.0


def write_lines(path: Path, lines: int) -> None:
    """Write the input of a batch: short questions after one long instruction, as in most batches."""
    system = "You judge whether a customer's message is a complaint. Answer yes or no. " * 4
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            messages = [{"role": "system", "content": system}, {"role": "user", "content": f"Message {number}: late!"}]
            body = {"model": "stub", "messages": messages, "max_tokens": 1}
            line = {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")


def run(lines: int = LINES) -> dict[str, Any]:
    """Upload the file, create the batch, and wait until its lines are queued."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "input.jsonl"
        write_lines(path, lines)
        with Engine(folder) as engine, Gateway(folder, engine.url, more="[lanes]\nbackfill = false\n") as gateway:
            client = OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, timeout=_TIMEOUT_S)
            idle_bytes = gateway.peak_rss_bytes()
            began_s = time.perf_counter()
            file = client.files.create(file=path, purpose="batch")
            uploaded_s = time.perf_counter()
            batch = client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            client.post(f"/batches/{batch.id}/pause", cast_to=object)  # to measure the ingestion alone
            ingested = next(state for state in _states(client, batch.id) if state.status != "validating")
            done_s = time.perf_counter()
            if ingested.status != "in_progress" or ingested.request_counts.total != lines:
                raise RuntimeError(f"the batch is {ingested.status}: {ingested.errors}")
            return {
                "lines": lines,
                "file_bytes": path.stat().st_size,
                "upload_s": uploaded_s - began_s,
                "validate_s": done_s - uploaded_s,
                "lines_per_s": lines / (done_s - began_s),
                "idle_rss_bytes": idle_bytes,
                "peak_rss_bytes": gateway.peak_rss_bytes(),
            }


def _states(client: OpenAI, batch_id: str) -> Iterator[Any]:
    ends_s = time.perf_counter() + _TIMEOUT_S
    while time.perf_counter() < ends_s:
        yield client.batches.retrieve(batch_id)
        time.sleep(0.25)
    raise RuntimeError("the batch is still being validated")
