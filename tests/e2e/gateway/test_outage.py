"""A minute without the database, while real time and a batch continue."""

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
import urllib3
from openai import OpenAI
from tests.e2e.gateway.conftest import configuration, start
from tests.e2e.gateway.test_batches import create, ended, line, results, upload
from tests.peers import postgres

GONE_S = 60.0
LINES = 400
PATIENCE_S = 15.0  # within which a caller is told that the database is gone


class RealTime(threading.Thread):
    """A client that calls continuously, alternately with and without streaming."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._client = OpenAI(base_url=url, api_key="none", max_retries=0, timeout=20)
        self.took_s: list[float] = []
        self.failures: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.ended.wait(0.1):
            number += 1
            began_s = time.monotonic()
            try:
                asked = [{"role": "user", "content": f"now {number}"}]
                made = self._client.chat.completions.create(
                    model="stub", messages=asked, max_tokens=2, stream=number % 2 == 0
                )  # type: ignore[call-overload]
                if number % 2 == 0:
                    assert [chunk for chunk in made if chunk.choices]
                self.took_s.append(time.monotonic() - began_s)
            except openai.APIError as error:
                self.failures.append(str(error))
        self._client.close()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["stopped", "hangs"])
def test_minute_without_database(engine: str, tmp_path: Path, way: str) -> None:
    with postgres.server() as database:
        config = _configuration(tmp_path, engine, database.url)
        there = start(["-m", "meritorder", "serve", "--config", str(config)], tmp_path / "log")
        try:
            with OpenAI(base_url=f"{there.url}/v1", api_key="none", max_retries=0, timeout=90) as client:
                _survive(client, there.url, database, way)
        finally:
            there.stop()
    said = (tmp_path / "log").read_text()
    assert "the database cannot be written" in said
    # Of one that hangs it is known only when it has not answered for a while.
    assert re.search(r"the database can be written again, after [56]\d s", said)
    assert "Traceback" not in said
    assert len(said.splitlines()) < 50, said  # it says so once, and not all the time


def _survive(client: OpenAI, url: str, database: postgres.Server, way: str) -> None:
    batch = create(client, upload(client, [line(i, max_tokens=40) for i in range(LINES)]))
    while not client.batches.retrieve(batch.id).request_counts.completed:  # type: ignore[union-attr]
        time.sleep(0.05)
    real_time = RealTime(f"{url}/v1")
    real_time.start()
    held = _Held(client)
    held.start()
    time.sleep(0.2)
    gone, back = (database.kill, database.start) if way == "stopped" else (database.freeze, database.thaw)
    gone()
    began_s = time.monotonic()
    try:
        _told(lambda: client.batches.retrieve(batch.id))
        _told(lambda: client.files.create(file=("input.jsonl", b"{}\n"), purpose="batch"))
        _told(lambda: client.responses.create(model="stub", input="x", background=True))
        _told(lambda: client.chat.completions.create(model="stub", messages=[], service_tier="flex"))
        assert urllib3.request("GET", f"{url}/health").status == 200
        metrics = urllib3.request("GET", f"{url}/metrics", timeout=PATIENCE_S)
        assert b"meritorder_store_up 0.0" in metrics.data
        time.sleep(max(0.0, began_s + GONE_S - time.monotonic()))
    finally:
        back()
    done = ended(client, batch, within_s=90)
    assert done.status == "completed"
    assert done.error_file_id is None
    assert len(results(client, done.output_file_id)) == LINES
    real_time.ended.set()
    real_time.join()
    assert real_time.failures == []
    assert len(real_time.took_s) > GONE_S * 3
    assert sorted(real_time.took_s)[int(0.99 * len(real_time.took_s))] < 1.0
    held.join(timeout=30)
    assert held.said, held.failure  # its line was held on
    _nothing_is_left(url, len(real_time.took_s))


class _Held(threading.Thread):
    """A deferred call whose answer arrives while the database is unreachable."""

    def __init__(self, client: OpenAI) -> None:
        super().__init__(daemon=True)
        self._client = client
        self.said: str | None = None
        self.failure: Exception | None = None

    def run(self) -> None:
        asked = [{"role": "user", "content": "when you can"}]
        try:
            made = self._client.chat.completions.create(
                model="stub", messages=asked, max_tokens=200, service_tier="flex"
            )  # type: ignore[call-overload]
            self.said = made.choices[0].message.content
        except openai.APIError as error:
            self.failure = error


def _told(ask: Callable[[], Any]) -> None:
    """Calls that need the database get a timely 503 in OpenAI's format."""
    began_s = time.monotonic()
    with pytest.raises(openai.InternalServerError) as caught:
        ask()
    assert time.monotonic() - began_s < PATIENCE_S
    assert caught.value.status_code == 503
    assert set(json.loads(caught.value.response.text)["error"]) == {"message", "type", "param", "code"}


def _nothing_is_left(url: str, answered: int) -> None:
    """Every answer is in the ledger once, and nothing is left in the queue."""
    time.sleep(1.0)  # it is written every quarter of a second
    status = json.loads(urllib3.request("GET", f"{url}/meritorder/status").data)
    assert status["queued"] == {}
    assert [(batch["total"], batch["status"]) for batch in status["batches"]] == []
    by_lane = {row["lane"]: row["requests"] for row in status["ledger"]}
    assert by_lane["realtime"] == answered
    assert by_lane["deferrable"] == LINES + 1


def _configuration(folder: Path, engine: str, url: str) -> Path:
    config = configuration(folder, engine)
    text = config.read_text().replace(f"sqlite:///{folder}/gateway.db", url)
    text = text.replace("port = 0", "port = 0\nrequire_keys = false")
    config.write_text(text.replace("lease =", f'blobs = "file://{folder}/blobs"\nlease ='))
    return config
