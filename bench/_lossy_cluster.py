"""A job on a Ray cluster of several nodes whose processes are killed at random: what is lost or answered twice."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench._gateway import Engine
from bench._process import ROOT

_NODES: Final = 2
_FAULTS: Final = ("worker", "worker", "engine", "node", "driver")
_ROWS_PER_KILL: Final = 150
_BAD_EVERY: Final = 100
_TOKEN_S: Final = 0.05
_MAX_SEQUENCES: Final = 8
_MAX_UPTIME_S: Final = 3.0
_PROMPT_TOKENS: Final = 7  # as the engine counts each prompt
_WORKER: Final = b"ray::MapWorker"
_MAX_STOPS: Final = 5
_TIMEOUT_S: Final = 3600.0


def survive(kills: int) -> dict[str, Any]:
    """Answer rows, a few of which are bad, while processes are killed; return what came of it."""
    rows = kills * _ROWS_PER_KILL
    draw = random.Random(0)  # noqa: S311 - when to kill
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        lines = [json.dumps({"id": f"row-{number}", "prompt": f"prompt {number}"}) for number in range(rows)]
        lines[::_BAD_EVERY] = [f'{{"id": "row-{number}", "prompt":' for number in range(0, rows, _BAD_EVERY)]
        (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
        site = _Site(folder)
        stack.callback(site.stop)
        done: Counter[str] = Counter()
        end_s = time.monotonic() + _TIMEOUT_S
        while site.is_running() and time.monotonic() < end_s:
            time.sleep(draw.uniform(0.0, _MAX_UPTIME_S))
            if done.total() < kills and site.has_advanced() and (fault := site.fail(draw)):
                done[fault] += 1
        return {"kills": dict(done), **site.outcome(rows)}


class _Site:
    """Nodes of a Ray cluster, two engines, and the command; what is killed is started again."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - with the extra `ray`

        self._folder = folder
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self._nodes = [self._cluster.add_node() for _ in range(_NODES)]
        self._engines = [self._new_engine(0) for _ in range(2)]
        self._runs = self._stops = 0
        self._files: set[Path] = set()
        self._driver = self._new_driver()

    def _new_engine(self, port: int) -> Engine:
        return Engine(self._folder, max_sequences=_MAX_SEQUENCES, token_s=_TOKEN_S, port=port)

    def _new_driver(self) -> subprocess.Popen[bytes]:
        self._runs += 1
        urls = [option for engine in self._engines for option in ("--url", f"{engine.url}/v1")]
        job = ["rows.jsonl", "--out", "answers", "--model", "stub", "--rows-per-file", "50", "--calls", "16", *urls]
        command = [sys.executable, "-m", "meritorder", "run", *job, "--workers", str(_NODES), "--ray"]
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        with (self._folder / "driver.log").open("ab") as log:
            return subprocess.Popen(
                [*command, self._cluster.address],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": path},
                stdout=log,
                stderr=log,
            )

    def is_running(self) -> bool:
        """Tell whether rows are left; a run that stopped by itself is started again, and counted."""
        returncode = self._driver.poll()
        if returncode == 2:
            self._stops += 1
            if self._stops > _MAX_STOPS:
                raise RuntimeError((self._folder / "driver.log").read_text(encoding="utf-8")[-1000:])
            self._driver = self._new_driver()
        return returncode in (None, 2)

    def has_advanced(self) -> bool:
        """Tell whether rows were answered since the last call that said so."""
        files, before = set((self._folder / "answers").glob("*.parquet")), self._files
        if has_advanced := bool(files - before):
            self._files = files
        return has_advanced

    def fail(self, draw: random.Random) -> str:
        """Kill a process with SIGKILL and start another; return what was killed, empty if there was none."""
        fault = draw.choice(_FAULTS)
        if fault == "engine":
            number = draw.randrange(len(self._engines))
            port = int(self._engines[number].url.rpartition(":")[2])
            self._engines[number].kill()
            self._engines[number] = self._new_engine(port)
        elif fault == "node":
            number = draw.randrange(_NODES)
            self._cluster.remove_node(self._nodes[number], allow_graceful=False)
            self._nodes[number] = self._cluster.add_node()
        elif fault == "driver":
            self._driver.kill()
            self._driver.wait()
            self._driver = self._new_driver()
        elif workers := self._workers():
            os.kill(draw.choice(workers), signal.SIGKILL)
        else:
            return ""
        return fault

    def _workers(self) -> list[int]:
        """Return the process ids of the job's workers, which are children of the raylets."""
        raylets = {node.all_processes["raylet"][0].process.pid for node in (self._cluster.head_node, *self._nodes)}
        pids = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                is_worker = (process / "cmdline").read_bytes().startswith(_WORKER)
                parent = int((process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            except OSError:
                continue
            if is_worker and parent in raylets:
                pids.append(int(process.name))
        return pids

    def outcome(self, rows: int) -> dict[str, Any]:
        """Return how many rows have no answer, or several, and how many of the wrong kind."""
        import polars as pl  # noqa: PLC0415 - with the extra `study`

        answers = pl.read_parquet(self._folder / "answers" / "*.parquet")
        good = answers.filter(pl.col("error").is_null())
        records = [json.loads(file.read_text()) for file in sorted((self._folder / "answers/_runs").glob("*.json"))]
        return {
            "rows": rows,
            "runs": self._runs,
            "stopped_by_themselves": self._stops,
            "lost": rows - answers["id"].n_unique(),
            "doubled": answers.height - answers["id"].n_unique(),
            "good_rows_with_an_error": rows - len(range(0, rows, _BAD_EVERY)) - good.height,
            "answered_again_and_removed": sum(record["repeated_input_tokens"] for record in records) // _PROMPT_TOKENS,
        }

    def stop(self) -> None:
        """Stop everything."""
        if self._driver.poll() is None:
            self._driver.kill()
            self._driver.wait()
        for engine in self._engines:
            engine.stop()
        self._cluster.shutdown()
