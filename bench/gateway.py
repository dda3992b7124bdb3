"""The hot path: requests per second and added latency of the gateway, a bare proxy and LiteLLM's proxy."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from bench._gateway import Gateway, Process, cpu_s, write_configuration
from bench._load import CONNECTIONS
from bench._process import ROOT
from meritorder.gateway.venues.ports import ReservedPort

_SECONDS: Final = 4.0
_ROUNDS: Final = 5
_WARM_S: Final = 3.0
_RATE: Final = 200.0
_FORMS: Final = ("whole", "stream")
_LITELLM: Final = ROOT / ".bench" / "litellm"
_LITELLM_START_S: Final = 120.0


def run(seconds: float = _SECONDS) -> dict[str, Any]:
    """Measure all in turns, each on one core, with the engine and the load generator on the other."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        core, other = cores()
        engine = stack.enter_context(Process(["-m", "bench._stub"], folder / "stub.log", core=other))
        key = new_key(folder, engine.url)
        servers: dict[str, Any] = {
            "direct": engine,
            "gateway": stack.enter_context(Gateway(folder, engine.url, keys=True, max_sequences=256, core=core)),
            "bare_proxy": stack.enter_context(
                Process(["-m", "bench._bare_proxy", engine.url], folder / "bare.log", core=core)
            ),
            "litellm": stack.enter_context(_LiteLLM(folder, engine.url, key, core)),
        }
        return {form: _compared(servers, key, form, other, seconds) for form in _FORMS}


def _compared(servers: dict[str, Any], key: str, form: str, core: int, seconds: float) -> dict[str, Any]:
    """Return medians over rounds in which every server has a turn, so that other load affects all of them alike."""
    rates: dict[str, list[float]] = {name: [] for name in servers}
    waits: dict[str, list[float]] = {name: [] for name in servers}
    firsts: dict[str, list[float]] = {name: [] for name in servers}
    spent: dict[str, list[float]] = {name: [] for name in servers}
    ratios = []
    for name, server in servers.items():
        load(server.url, key, form, seconds=_WARM_S, core=core)
        rates[name].clear()
    for _ in range(_ROUNDS):
        for name, server in servers.items():
            before_s = server.cpu_s()
            saturated = load(server.url, key, form, seconds=seconds, core=core)
            rates[name].append(saturated["requests_per_s"])
            spent[name].append((server.cpu_s() - before_s) / (saturated["requests_per_s"] * seconds))
            # LiteLLM cannot sustain the rate at which latency is measured.
            if name != "litellm":
                paced = load(server.url, key, form, seconds=seconds, rate=_RATE, core=core)
                waits[name].append(paced["p50_s"])
                firsts[name].append(paced["first_p50_s"])
        ratios.append(rates["gateway"][-1] / rates["bare_proxy"][-1])
    max_per_s = {name: statistics.median(values) for name, values in rates.items()}
    p50_s = {name: statistics.median(values) for name, values in waits.items() if values}
    first_s = {name: statistics.median(values) for name, values in firsts.items() if values}
    return {
        "requests_per_s": max_per_s["gateway"],
        "requests_per_s_bare_proxy": max_per_s["bare_proxy"],
        "requests_per_s_litellm": max_per_s["litellm"],
        "requests_per_s_direct": max_per_s["direct"],
        "ratio_to_bare_proxy": statistics.median(ratios),
        "ratio_to_litellm": max_per_s["gateway"] / max_per_s["litellm"],
        "cpu_s_per_request": statistics.median(spent["gateway"]),
        "cpu_s_per_request_bare_proxy": statistics.median(spent["bare_proxy"]),
        "cpu_s_per_request_litellm": statistics.median(spent["litellm"]),
        "added_p50_s": p50_s["gateway"] - p50_s["direct"],
        "added_p50_s_bare_proxy": p50_s["bare_proxy"] - p50_s["direct"],
        "added_first_p50_s": first_s["gateway"] - first_s["direct"],
        "added_first_p50_s_bare_proxy": first_s["bare_proxy"] - first_s["direct"],
        "rss_bytes": servers["gateway"].rss_bytes(),
    }


def load(
    url: str, key: str, form: str, *, seconds: float, rate: float = 0, core: int, connections: int = CONNECTIONS
) -> dict[str, float]:
    """Load a server at a rate, or in a closed loop if it is 0, and return the figures of the load generator."""
    command = [sys.executable, "-m", "bench._load", url, key, form, str(seconds), str(rate), str(connections)]
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
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def new_key(folder: Path, engine: str, *options: str) -> str:
    """Create a key with a rate limit and a budget that are counted, but never reached, and with other options."""
    config = write_configuration(folder, engine, keys=True)
    command = [sys.executable, "-m", "meritorder", "keys", "create", "bench", "--config", str(config)]
    command += ["--requests-per-minute", "10000000", "--budget", "1000000", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def cores() -> tuple[int, int]:
    """Return a core for the server under test, and one for everything else."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


class _LiteLLM:
    """LiteLLM's proxy in its own virtual environment, which is created on first use."""

    def __init__(self, folder: Path, engine: str, key: str, core: int) -> None:
        python = _LITELLM / "bin" / "python"
        if not python.exists():
            print("  (installing litellm[proxy] into .bench/litellm, once)", flush=True)
            subprocess.run([sys.executable, "-m", "venv", str(_LITELLM)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "litellm[proxy]"], check=True)
        self._port = ReservedPort()
        config = folder / "litellm.yaml"
        config.write_text(
            "model_list:\n- model_name: stub\n  litellm_params:\n    model: openai/stub\n"
            f"    api_base: {engine}/v1\n    api_key: none\n",
            encoding="utf-8",
        )
        self.url = f"http://127.0.0.1:{self._port.number}"
        command = [str(_LITELLM / "bin" / "litellm"), "--config", str(config), "--port", str(self._port.number)]
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

    def cpu_s(self) -> float:
        """Return the CPU time that it has used so far."""
        return cpu_s(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, 9)
        self._process.wait()
        self._port.release()
        self._log.close()
