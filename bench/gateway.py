"""The hot path: requests a second through the gateway, a bare proxy and LiteLLM's proxy; and the latency it adds."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench._gateway import Gateway, Process, write_configuration
from bench._process import ROOT

_SECONDS: Final = 10.0
_WARM_S: Final = 3.0
_RATE: Final = 200.0
_FORMS: Final = ("whole", "stream")
_LITELLM: Final = ROOT / ".bench" / "litellm"
_LITELLM_START_S: Final = 120.0


def run(seconds: float = _SECONDS) -> dict[str, Any]:
    """Measure each on one core, with the engine and the load on the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core, other = _cores()
        with Process(["-m", "bench._stub"], folder / "stub.log", core=other) as engine:
            key = _key(folder, engine.url)
            ways: dict[str, Callable[[], Any]] = {
                "direct": lambda: engine,
                "gateway": lambda: Gateway(folder, engine.url, keys=True, seats=256, core=core),
                "bare_proxy": lambda: Process(["-m", "bench._bare_proxy", engine.url], folder / "bare.log", core=core),
                "litellm": lambda: _LiteLLM(folder, engine.url, key, core),
            }
            found = {way: _measured(way, start, key, other, seconds) for way, start in ways.items()}
    return {
        form: {
            "requests_per_s": found["gateway"][form]["requests_per_s"],
            "requests_per_s_bare_proxy": found["bare_proxy"][form]["requests_per_s"],
            "requests_per_s_litellm": found["litellm"][form]["requests_per_s"],
            "requests_per_s_direct": found["direct"][form]["requests_per_s"],
            "ratio_to_bare_proxy": found["gateway"][form]["requests_per_s"]
            / found["bare_proxy"][form]["requests_per_s"],
            "ratio_to_litellm": found["gateway"][form]["requests_per_s"] / found["litellm"][form]["requests_per_s"],
            "added_p50_s": found["gateway"][form]["p50_s"] - found["direct"][form]["p50_s"],
            "added_p50_s_bare_proxy": found["bare_proxy"][form]["p50_s"] - found["direct"][form]["p50_s"],
            "p99_s": found["gateway"][form]["p99_s"],
        }
        for form in _FORMS
    }


def _measured(way: str, start: Callable[[], Any], key: str, core: int, seconds: float) -> dict[str, dict[str, float]]:
    there = start()
    try:
        found = {}
        for form in _FORMS:
            _load(there.url, key, form, _WARM_S, 0, core)
            most = _load(there.url, key, form, seconds, 0, core)
            # LiteLLM cannot carry the rate at which latency is measured.
            paced = most if way == "litellm" else _load(there.url, key, form, seconds, _RATE, core)
            found[form] = {"requests_per_s": most["requests_per_s"], "p50_s": paced["p50_s"], "p99_s": paced["p99_s"]}
        return found
    finally:
        if way != "direct":
            there.stop()


def _load(url: str, key: str, form: str, seconds: float, rate: float, core: int) -> dict[str, float]:  # noqa: PLR0917
    command = [sys.executable, "-m", "bench._load", url, key, form, str(seconds), str(rate)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-1000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _key(folder: Path, engine: str) -> str:
    config = write_configuration(folder, engine, keys=True)
    command = [sys.executable, "-m", "meritorder", "keys", "create", "bench", "--config", str(config)]
    command += ["--requests-per-minute", "10000000", "--budget", "1000000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _cores() -> tuple[int, int]:
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


class _LiteLLM:
    """LiteLLM's proxy in an environment of its own, made when it is first needed."""

    def __init__(self, folder: Path, engine: str, key: str, core: int) -> None:
        python = _LITELLM / "bin" / "python"
        if not python.exists():
            print("  (installing litellm[proxy] into .bench/litellm, once)", flush=True)
            subprocess.run([sys.executable, "-m", "venv", str(_LITELLM)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "litellm[proxy]"], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = folder / "litellm.yaml"
        config.write_text(
            "model_list:\n- model_name: stub\n  litellm_params:\n    model: openai/stub\n"
            f"    api_base: {engine}/v1\n    api_key: none\n",
            encoding="utf-8",
        )
        self.url = f"http://127.0.0.1:{port}"
        command = [str(_LITELLM / "bin" / "litellm"), "--config", str(config), "--port", str(port)]
        self._log = (folder / "litellm.log").open("w")
        self._process = subprocess.Popen(
            [*command, "--num_workers", "1"],
            env={**os.environ, "LITELLM_MASTER_KEY": key},
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        os.sched_setaffinity(self._process.pid, {core})
        self._wait(folder)

    def _wait(self, folder: Path) -> None:
        ends_s = time.perf_counter() + _LITELLM_START_S
        while time.perf_counter() < ends_s:
            try:
                with urllib.request.urlopen(f"{self.url}/health/liveliness", timeout=1):  # noqa: S310 - ours
                    return
            except OSError:
                time.sleep(0.5)
        raise RuntimeError((folder / "litellm.log").read_text(encoding="utf-8")[-1000:])

    def stop(self) -> None:
        """End it."""
        os.killpg(self._process.pid, 9)
        self._process.wait()
        self._log.close()
