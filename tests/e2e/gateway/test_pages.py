"""The web application behind a gateway: signed in with its keys, and restarted alone."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.gateway.conftest import configuration, new_key, start

pytestmark = pytest.mark.slow
UP_S = 60.0


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Path:
    return configuration(tmp_path_factory.mktemp("pages"), engine, '[ui]\nenabled = true\npublic = ["calculator"]')


@pytest.fixture(scope="module")
def address(configured: Path) -> Iterator[str]:
    there = start(["-m", "meritorder", "serve", "--config", str(configured)], configured.parent / "log")
    yield there.url
    there.stop()


@pytest.fixture
def browser(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, follow_redirects=True, headers={"accept": "text/html"}, timeout=30) as client:
        _wait(client)
        yield client


def _wait(browser: httpx.Client) -> None:
    """Wait until the pages answer."""
    give_up_s = time.monotonic() + UP_S
    while browser.get("/app.css").status_code == 503:
        assert time.monotonic() < give_up_s
        time.sleep(0.2)


def _sign_in(browser: httpx.Client, key: str) -> None:
    assert browser.post("/sign-in", data={"key": key, "next": "/batches"}).url.path == "/batches"


def test_pages_follow_the_keys_of_the_gateway(browser: httpx.Client, configured: Path, tmp_path: Path) -> None:
    assert browser.get("/?model=gpt-4.1-mini").url.path == "/"
    assert browser.get("/live").url.path == "/sign-in"
    _sign_in(browser, new_key(configured, "--tenant", "<script>alert(1)</script>"))
    requests = tmp_path / "prompts.txt"
    requests.write_text("one\ntwo\n", encoding="utf-8")
    token = re.findall(r'name="token" value="([^"]+)"', browser.get("/batches").text)[0]
    form = {"token": token, "window": "1h", "model": "stub", "action": "start"}
    created = browser.post("/batches", data=form, files={"file": (requests.name, requests.read_bytes())})
    (batch_id,) = set(re.findall(r"batch_\w{10,}", created.text))
    assert "<script>alert" not in created.text
    give_up_s = time.monotonic() + UP_S
    while "completed" not in browser.get("/batches").text:
        assert time.monotonic() < give_up_s
        time.sleep(0.2)
    assert browser.get(f"/batches/{batch_id}/results").text.count("\n") == 2
    assert batch_id in browser.get(f"/batches/{batch_id}/receipt").text
    with httpx.Client(base_url=browser.base_url, follow_redirects=True, timeout=30) as other:
        _sign_in(other, new_key(configured, "--tenant", "other"))
        assert batch_id not in other.get("/batches").text
        assert other.get(f"/batches/{batch_id}/results").status_code == 422
        assert batch_id not in other.get("/api/live").text
        assert "alert(1)" not in other.get("/api/ledger?by=tenant").text
        other.cookies.clear()
        _sign_in(other, new_key(configured, "--admin"))
        assert "alert(1)" in other.get("/api/ledger?by=tenant&period=1d").text


def test_pages_restart_alone(browser: httpx.Client, address: str) -> None:
    running = [
        int(process.name)
        for process in Path("/proc").glob("[0-9]*")
        if address.encode() in _command(process)
        and b"--socket" in _command(process)
        and b"watchdog" not in _command(process)
    ]
    assert len(running) == 1
    os.kill(running[0], signal.SIGKILL)
    while browser.get("/app.css").status_code == 200:
        time.sleep(0.01)
    assert browser.get("/health").json() == {"status": "ok"}
    _wait(browser)
    assert browser.get("/live").url.path == "/sign-in"


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
