"""The calculator in a real browser: it answers while a slider moves, from this machine alone."""

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_report_browser import CHROMIUM, QUIET

playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"needs chromium at {CHROMIUM}"),
]
TOKENS = "model=gpt-4.1-mini"
ANSWER_MS = 60_000
UNFINISHED_UPLOAD = (
    b"POST /data HTTP/1.1\r\nHost: HOST\r\nContent-Length: 99999\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n1,2'
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "meritorder", "ui", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield next(word for word in line.split() if word.startswith("http"))
        process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield launched
        launched.close()


def _open(browser: Any, url: str, **options: Any) -> tuple[Any, list[str], list[str]]:  # noqa: ANN401 (untyped without playwright)
    page = browser.new_page(**options)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(url, timeout=ANSWER_MS)
    return page, asked, said


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_and_asks_nobody_else(browser: Any, address: str, width: int, scheme: str) -> None:  # noqa: ANN401
    page, asked, said = _open(
        browser, f"{address}/?{TOKENS}", viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.close()
    assert overflow == 0
    assert said == []
    assert all(url.startswith((address, "data:")) for url in asked)


def test_answer_and_address_follow_a_slider(browser: Any, address: str) -> None:  # noqa: ANN401
    page, _, said = _open(browser, f"{address}/?{TOKENS}")
    before = page.inner_text("#answer h1")
    page.locator("input[data-sets=requests_per_day]").fill("900")
    page.wait_for_url("**requests_per_day=*&input_tokens=*", timeout=ANSWER_MS)
    after, url = page.inner_text("#answer h1"), page.url
    page.reload(timeout=ANSWER_MS)
    assert after != before
    assert page.inner_text("#answer h1") == after
    assert page.url == url
    page.close()
    assert said == []


def test_keyboard_alone_changes_the_answer(browser: Any, address: str) -> None:  # noqa: ANN401
    page, _, _ = _open(browser, f"{address}/?{TOKENS}")
    page.focus("#can_wait")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("80")
    page.wait_for_url("**can_wait=80*", timeout=ANSWER_MS)
    assert page.evaluate("document.activeElement.id") == "can_wait"
    page.close()


def test_unusable_number_is_explained(browser: Any, address: str) -> None:  # noqa: ANN401
    page, _, _ = _open(browser, f"{address}/?{TOKENS}")
    page.fill("#peak", "50")
    page.wait_for_selector("[role=alert]", timeout=ANSWER_MS)
    assert "peak" in page.inner_text("[role=alert]")
    page.close()


def test_page_works_without_scripts(browser: Any, address: str) -> None:  # noqa: ANN401
    page, _, _ = _open(browser, f"{address}/?{TOKENS}", java_script_enabled=False)
    page.fill("#can_wait", "70")
    page.click("button[type=submit]")
    page.wait_for_url("**can_wait=70*", timeout=ANSWER_MS)
    assert "requests a day" in page.inner_text("#answer h1")
    page.close()


def test_own_trace_becomes_a_report(browser: Any, address: str, tmp_path: Path) -> None:  # noqa: ANN401
    trace = tmp_path / "my trace.csv"
    rows = [f"2026-01-05T00:{minute:02}:00Z,{100 + minute},20" for minute in range(60)]
    trace.write_text("\n".join(["arrived_at,input_tokens,output_tokens", *rows]), encoding="utf-8")
    page, _, said = _open(browser, f"{address}/data")
    page.set_input_files("#file", trace)
    page.fill("#model", "gpt-4.1-mini")
    page.click("button[type=submit]")
    page.click("text=Open the report", timeout=ANSWER_MS)
    page.wait_for_url("**/report", timeout=ANSWER_MS)
    assert "60" in page.inner_text("body")
    assert page.evaluate("fetch('/api/estimate').then(() => 'reached', () => 'refused')") == "refused"
    assert all("Content Security Policy" in text for text in said)
    said.clear()
    page.go_back()
    assert "mytrace.csv --model=gpt-4.1-mini" in page.inner_text("section[aria-labelledby=command]")
    page.click("text=Delete the file")
    page.wait_for_url("**/data", timeout=ANSWER_MS)
    page.close()
    assert said == []


def test_upload_says_how_far_it_is_and_stops(browser: Any, address: str, tmp_path: Path) -> None:  # noqa: ANN401
    big = tmp_path / "big.csv"
    big.write_bytes(b"1,2\n" * 500_000)
    page, _, said = _open(browser, f"{address}/data")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
    page.set_input_files("#file", big)
    page.click("button[type=submit]")
    page.wait_for_selector("text= of 2.0 MB sent", timeout=ANSWER_MS)
    page.click("text=Cancel")
    page.wait_for_selector(".sent", state="hidden", timeout=ANSWER_MS)
    page.goto(f"{address}/data", timeout=ANSWER_MS)
    assert "big.csv" not in page.inner_text("main")
    page.close()
    assert said == []


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interruption_leaves_nothing(browser: Any, tmp_path: Path, end: signal.Signals) -> None:  # noqa: ANN401
    trace = tmp_path / "slow.csv"
    rows = [f"2026-01-05T{hour:02}:{minute:02}:00Z,1000,200" for hour in range(24) for minute in range(60)]
    trace.write_text("\n".join(["arrived_at,input_tokens,output_tokens", *rows]), encoding="utf-8")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "meritorder", "ui", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as process:
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        page, _, _ = _open(browser, f"{url}/data")
        page.set_input_files("#file", trace)
        page.fill("#model", "llama-3.1-8b")
        page.click("button[type=submit]")
        page.wait_for_selector("[data-events]", timeout=ANSWER_MS)  # the page follows the work
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as upload:
            upload.sendall(UNFINISHED_UPLOAD.replace(b"HOST", host.encode()))
            process.send_signal(end)
            _, said = process.communicate(timeout=60)
        page.close()
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in said
    assert not any(str(temporary) in _folder_of(other) for other in Path("/proc").glob("[0-9]*"))


def _folder_of(process: Path) -> str:
    """Return the folder in which a process works, or nothing if it has ended."""
    with contextlib.suppress(OSError):
        return str((process / "cwd").readlink())
    return ""


def test_unreadable_file_is_explained(browser: Any, address: str, tmp_path: Path) -> None:  # noqa: ANN401
    trace = tmp_path / "notes.csv"
    trace.write_text("a,b\nx,y\n", encoding="utf-8")
    page, _, _ = _open(browser, f"{address}/data")
    page.set_input_files("#file", trace)
    page.click("button[type=submit]")
    page.wait_for_selector("[role=alert]", timeout=ANSWER_MS)
    assert "columns" in page.inner_text("[role=alert]")
    assert page.locator("#columns").count() == 1
    page.check("input[value=audit]")
    page.click("text=Run again")
    page.wait_for_selector("h1:has-text('What is overpaid in this bill?')", timeout=ANSWER_MS)
    page.wait_for_selector("[role=alert]", timeout=ANSWER_MS)
    assert page.inner_text("[role=alert]").startswith("notes.csv: not a bill of a known format")
    page.close()


class _Gateway(http.server.BaseHTTPRequestHandler):
    """A gateway whose queue is one shorter each time it is asked."""

    queued = 50

    def do_GET(self) -> None:
        type(self).queued -= 1
        venue = {"name": "own", "models": ["m"], "up": True, "engine": None, "seats": 8, "realtime": 1, "deferrable": 2}
        state = {
            "plan": None,
            "venues": [venue | {"allowed": 6, "alert": None}],
            "queued": {"m": self.queued},
            "batches": [],
            "ledger": [],
        }
        key = {"id": "key_1", "name": "k", "tenant": "default", "admin": True, "read_only": False}
        body = json.dumps(key if self.path == "/meritorder/key" else state).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.mark.parametrize("width", [390, 1280])
def test_live_page_follows_gateway(browser: Any, width: int) -> None:  # noqa: ANN401
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Gateway) as gateway:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        shown = f"http://127.0.0.1:{gateway.server_port}"
        command = [sys.executable, "-m", "meritorder", "ui", "--port", "0", "--gateway", shown]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            address = next(word for word in process.stdout.readline().split() if word.startswith("http"))
            page, asked, said = _open(browser, f"{address}/live", viewport={"width": width, "height": 900})
            before = page.inner_text("h1")
            page.focus("#venues-table")
            page.wait_for_function("before => document.querySelector('h1').innerText !== before", arg=before)
            assert "requests wait for idle capacity" in page.inner_text("h1")
            assert page.evaluate("document.activeElement.id") == "venues-table"
            assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
            page.close()
            process.terminate()
        gateway.shutdown()
    assert said == []
    assert all(url.startswith((address, "data:")) for url in asked)
