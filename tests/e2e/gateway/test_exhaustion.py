"""What the operating system takes away: file descriptors, and the right to write."""

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from tests.e2e.gateway.conftest import Process, configuration, start

CALL = {"model": "stub", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}


@pytest.fixture
def gateway(engine: str, tmp_path: Path) -> Iterator[Process]:
    config = configuration(tmp_path, engine)
    config.write_text(config.read_text().replace("port = 0", "port = 0\nrequire_keys = false"))
    there = start(["-m", "meritorder", "serve", "--config", str(config)], tmp_path / "log")
    yield there
    there.stop()


def upload(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/files", files={"file": ("f.jsonl", b"{}")}, data={"purpose": "batch"})


@contextmanager
def without_descriptors(gateway: Process) -> Iterator[None]:
    """Let the gateway open no more files or sockets."""
    pid, limit = gateway.process.pid, resource.RLIMIT_NOFILE
    used = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (used + 1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, limit, before)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="no prlimit here")
def test_exhausted_descriptors_are_survived(gateway: Process, tmp_path: Path) -> None:
    with httpx.Client(base_url=gateway.url, timeout=30) as client, ExitStack() as stack:
        assert client.post("/v1/chat/completions", json=CALL).status_code == 200
        with without_descriptors(gateway):
            host, port = gateway.url.removeprefix("http://").split(":")
            for _ in range(20):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
            reply = upload(client)
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "service_unavailable")
            assert client.post("/v1/chat/completions", json=CALL).status_code in {200, 503}
            assert client.get("/health").json()["status"] == "degraded"
        stack.close()
        _until(lambda: upload(client).status_code == 200)
    with httpx.Client(base_url=gateway.url, timeout=30) as client:
        assert client.post("/v1/chat/completions", json=CALL).status_code == 200
        _until(lambda: client.get("/health").json() == {"status": "ok"})
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_full_store_is_stated_and_left(gateway: Process) -> None:
    with httpx.Client(base_url=gateway.url, timeout=30) as client:
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        reply = upload(client)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "service_unavailable")
        assert int(reply.headers["retry-after"]) > 0
        _until(lambda: is_stated(client))
        assert client.post("/v1/chat/completions", json=CALL).status_code == 200
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        _until(lambda: upload(client).status_code == 200)
        _until(lambda: client.get("/health").json() == {"status": "ok"})


def is_stated(client: httpx.Client) -> bool:
    """Return whether a refusal shows; until the next one, a transaction without changes hides it."""
    assert upload(client).status_code == 503
    failing = client.get("/health").json().get("failing", ())
    return "database" in failing and "meritorder_store_up 0.0" in client.get("/metrics").text


def _until(reached: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < until_s
        time.sleep(0.2)
