"""Every command block of the documentation runs, in the order of its page, on the files that the pages name.

Blocks marked `sh` and `python` are run; an indented block is an example that needs something of the reader's own. A
`text` block after a command is its output: each of its lines must be printed. A gateway that a page starts runs until
the page ends. `make` targets are held against the Makefile, and run in a fresh clone by hand.
"""

import contextlib
import datetime as dt
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.samples import charges
from tests.samples.command import ROOT

from meritorder.traces.generated import sample

pytestmark = pytest.mark.slow

PAGES = [ROOT / "README.md", ROOT / "docs/tutorial.md", *sorted((ROOT / "docs/how-to").glob("*.md"))]
BLOCK = re.compile(r"^```(sh|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVERS = {"meritorder serve": "http://127.0.0.1:8000", "meritorder ui": "http://127.0.0.1:8090"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files that the pages name."""
    rng = np.random.default_rng(0)
    for name, people in (("requests.csv", 1000), ("next_week.csv", 800)):
        indexed = np.repeat(np.arange(0, 7200, 300.0), 15) + rng.uniform(0, 20, 360)  # a scheduled job: it can wait
        requests = people + len(indexed)
        started = dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)
        arrivals = np.concatenate([rng.uniform(0, 7200, people), indexed])
        pl.DataFrame(
            {
                "timestamp": [started + dt.timedelta(seconds=float(arrival)) for arrival in arrivals],
                "input_tokens": rng.integers(200, 2000, requests),
                "output_tokens": rng.integers(20, 400, requests),
                "tenant": ["web-chat"] * people + ["doc-index"] * len(indexed),
            }
        ).sort("timestamp").write_csv(tmp_path / name)
    _write_log(tmp_path / "log.csv")
    machines = charges.machine(range(24 * 7), tags={"team": "search"})
    charges.write(tmp_path / "bill.csv", [*machines, *charges.machine(range(24), name="i-2", tags={"team": "chat"})])
    lines = [
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "smollm2-135m", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]},
        }
        for number in range(5)
    ]
    (tmp_path / "batch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    prompts = ({"id": number, "prompt": "Translate this sentence."} for number in range(50))
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    shutil.copy(ROOT / "examples/catalog.csv", tmp_path / "catalog.csv")
    (tmp_path / "demo").mkdir()  # as `make demo` writes it
    sample.write(tmp_path / "demo/week.parquet", seed=0)
    (tmp_path / "demo/workloads.toml").write_text(sample.WORKLOADS, encoding="utf-8")
    (tmp_path / "gateway.toml").write_text(
        '[[venue]]\nname = "own"\nurl = "http://127.0.0.1:9/v1"\nmodels = ["llama-3.1-70b"]\n'
    )
    return tmp_path


def _write_log(path: Path) -> None:
    """Write the log of an engine whose first token takes 50 ms and whose every other token takes 10 ms."""
    rng = np.random.default_rng(1)
    requests = 120
    output = rng.integers(20, 200, requests)
    pl.DataFrame(
        {
            "arrival_s": np.sort(rng.uniform(0, 240, requests)),
            "input_tokens": rng.integers(100, 800, requests),
            "output_tokens": output,
            "ttft_s": np.full(requests, 0.05),
            "e2e_s": 0.05 + 0.01 * (output - 1),
        }
    ).write_csv(path)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose `meritorder` and `python` are those of this checkout."""
    commands = tmp_path / ".commands"
    commands.mkdir()
    for name, start in (("meritorder", "-m meritorder "), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {start}"$@"\n')
        (commands / name).chmod(0o755)
    return os.environ | {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "COLUMNS": "100",
        "OPENAI_API_KEY": "any",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_page_run(page: Path, folder: Path, environment: dict[str, str]) -> None:
    printed, servers = "", []
    with contextlib.ExitStack() as turn:
        try:
            for kind, body in BLOCK.findall(page.read_text(encoding="utf-8")):
                if kind == "text":
                    missing = [line for line in body.splitlines() if line.strip() and line.strip() not in printed]
                    assert not missing, f"not printed: {missing}"
                elif kind == "python":
                    printed = _run(["python", "-c", body], folder, environment)
                elif (server := " ".join(body.split()[:2])) in SERVERS:
                    if not servers:
                        turn.enter_context(_turn_of_ports())
                    servers.append(_serve(body, SERVERS[server], folder, environment))
                else:
                    printed = _run(["bash", "-euo", "pipefail", "-c", _without_make(body)], folder, environment)
        finally:
            for server_process in servers:
                os.killpg(server_process.pid, signal.SIGTERM)
                server_process.wait(30)


@contextlib.contextmanager
def _turn_of_ports() -> Iterator[None]:
    """Wait until no other page runs servers, since all pages name the same ports."""
    with (Path(tempfile.gettempdir()) / "meritorder-pages.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _without_make(body: str) -> str:
    """Return a block without its `make` lines, having checked that their targets exist."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = []
    for line in body.splitlines():
        if line.startswith("make "):
            assert f"\n{line.split()[1]}: " in makefile, line
        else:
            lines.append(line)
    return "\n".join(lines)


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _serve(body: str, url: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a server, and return when it answers."""
    if "--local" in body:
        pytest.importorskip("xllamacpp", reason="the local engine has no wheel here")
    port = int(url.rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)), f"port {port} is taken"
    server = subprocess.Popen(["bash", "-c", f"exec {body}"], cwd=folder, env=environment, start_new_session=True)
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        if _answers(url):
            return server
        time.sleep(0.2)
    raise AssertionError("the server does not answer")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
