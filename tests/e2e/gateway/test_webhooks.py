"""Webhooks, verified with the official client."""

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from openai import OpenAI
from tests.e2e.gateway.conftest import configuration, start

SECRET = "whsec_bWVyaXQgb3JkZXIgaXMgdGhlIGNoZWFwZXN0IGZpcnN0"  # noqa: S105 - of this test


class Receiver(BaseHTTPRequestHandler):
    received: list[tuple[dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(500 if len(self.received) == 1 else 204)  # the first is to be sent again
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    Receiver.received = []
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_events_are_signed_and_retried(
    receiver: HTTPServer, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "WEBHOOK_TEST_SECRET", SECRET)
    hook = f'[[webhook]]\nurl = "http://127.0.0.1:{receiver.server_port}/hook"\nsecret_env = "WEBHOOK_TEST_SECRET"\n'
    config = configuration(tmp_path, engine, hook)
    config.write_text(config.read_text().replace("port = 0", "port = 0\nrequire_keys = false"))
    there = start(["-m", "meritorder", "serve", "--config", str(config)], tmp_path / "log")
    try:
        with OpenAI(base_url=f"{there.url}/v1", api_key="none", webhook_secret=SECRET) as client:
            file = client.files.create(file=("x.jsonl", b'{"custom_id": 1}\n'), purpose="batch")
            batch = client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            response = client.responses.create(model="stub", input="hello", background=True)
            until = time.monotonic() + 20
            while time.monotonic() < until and len(Receiver.received) < 3:
                time.sleep(0.05)
            events = {}
            for headers, body in Receiver.received:
                event = client.webhooks.unwrap(body.decode(), headers)
                events[event.type] = event.data.id  # type: ignore[union-attr]
                assert json.loads(body)["object"] == "event"
                with pytest.raises(Exception, match="signature"):
                    client.webhooks.unwrap(body.decode() + " ", headers)
            assert events == {"batch.failed": batch.id, "response.completed": response.id}
            ids = [json.loads(body)["id"] for _, body in Receiver.received]
            assert (len(ids), len(set(ids))) == (3, 2)
    finally:
        there.stop()
