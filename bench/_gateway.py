"""A gateway and a stub engine in their own processes, for benchmarks."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from bench._process import ROOT

_KIB: Final = 1024


class Process:
    """A server process that prints its address or port as its first line."""

    def __init__(self, arguments: list[str], log: Path, *, core: int | None = None) -> None:
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        self._log = log
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        if core is not None:
            os.sched_setaffinity(self.process.pid, {core})
        if self.process.stdout is None:
            raise RuntimeError("standard output is not a pipe")
        address = self.process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"{' '.join(arguments)} did not start: {log.read_text()[-1000:]}")
        self.url = address.rpartition(" ")[2] if "http" in address else f"http://127.0.0.1:{address}"

    def peak_rss_bytes(self) -> int:
        """Return the peak of its resident memory so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) * _KIB

    def rss_bytes(self) -> int:
        """Return its resident memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmRSS:")[2].split()[0]) * _KIB

    def cpu_s(self) -> float:
        """Return the CPU time that it has used so far."""
        return cpu_s(self.process.pid)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._close()

    def stop(self) -> None:
        """Terminate it, and kill it if it is still running after 30 seconds."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._close()

    def _close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:  # it has ended meanwhile
        return b""


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Engine(Process):
    """The stub engine of the tests."""

    def __init__(
        self, folder: Path, *, max_sequences: int = 64, token_s: float = 0.0, port: int = 0, core: int | None = None
    ) -> None:
        arguments = [
            "-m",
            "tests.peers.engine",
            "--port",
            str(port),
            "--max-sequences",
            str(max_sequences),
            "--token-s",
            str(token_s),
        ]
        super().__init__(arguments, folder / "engine.log", core=core)


def write_configuration(
    folder: Path,
    engine: str,
    *,
    store: str = "",
    port: int = 0,
    keys: bool = False,
    max_sequences: int = 64,
    more: str = "",
    blobs: str = "",
) -> Path:
    """Write the configuration of a gateway in front of one engine."""
    path = folder / "gateway.toml"
    url = store or f"sqlite:///{folder}/gateway.db"
    path.write_text(
        f"[server]\nport = {port}\nrequire_keys = {str(keys).lower()}\n"
        f'[store]\nurl = "{url}"\nblobs = "{blobs or f"file://{folder}/blobs"}"\nlease = "2s"\n{more}\n'
        f'[[venue]]\nname = "stub"\nurl = "{engine}"\nkind = "vllm"\nmodels = ["stub"]\n'
        f"max_concurrency = {max_sequences}\n"
        "[venue.price]\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n",
        encoding="utf-8",
    )
    return path


class Gateway(Process):
    """A gateway in front of one engine."""

    def __init__(
        self,
        folder: Path,
        engine: str,
        *,
        store: str = "",
        port: int = 0,
        keys: bool = False,
        max_sequences: int = 64,
        more: str = "",
        blobs: str = "",
        core: int | None = None,
        workers: int = 1,
    ) -> None:
        self.workers = workers
        config = write_configuration(
            folder, engine, store=store, port=port, keys=keys, max_sequences=max_sequences, more=more, blobs=blobs
        )
        arguments = ["-m", "meritorder", "serve", "--config", str(config), "--workers", str(workers)]
        super().__init__(arguments, folder / "gateway.log", core=core)

    def cpu_s(self) -> float:
        """Return the CPU time that it has used so far, with its workers."""
        return cpu_s(self.process.pid) + sum(map(cpu_s, self.worker_pids()))

    def worker_pids(self) -> list[int]:
        """Return its workers; none if it is one process."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        return [int(child) for child in children if b"spawn_main" in _command(child)]
