"""Processor time and memory of a command with all processes that it starts, such as those of Ray."""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench._process import ROOT, Measured

_SET_CHILD_SUBREAPER: Final = 36  # of prctl(2): orphans become children of this process, and are found
_EVERY_S: Final = 1.0
_KIB: Final = 1024


def measure_tree(arguments: Sequence[str]) -> Measured:
    """Run Python with these arguments, and sample the whole tree of processes each second.

    Raises:
        RuntimeError: The process failed; the message ends with its last output.
    """
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = set(_tree(os.getpid()))
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    variables = {**os.environ, "PYTHONPATH": path}
    cpu_s: dict[int, float] = {}
    peak_bytes, started = 0, time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        while process.poll() is None:
            pids = [pid for pid in _tree(os.getpid()) if pid not in before]
            cpu_s |= {pid: used_s for pid in pids if (used_s := _cpu_s(pid))}
            peak_bytes = max(peak_bytes, sum(map(_pss_bytes, pids)))
            time.sleep(_EVERY_S)
        output = process.stdout.read() if process.stdout else ""
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {output[-500:]}")
    return Measured(seconds=seconds, cpu_seconds=sum(cpu_s.values()), peak_rss_bytes=peak_bytes, output=output)


def _tree(root: int) -> list[int]:
    """Return the processes below a process."""
    parents = {int(entry.name): _stat(entry.name)[1] for entry in Path("/proc").glob("[0-9]*")}
    below, tree = [root], []
    while below:
        tree += (below := [pid for pid, parent in parents.items() if int(parent) in below])
    return tree


def _cpu_s(pid: int) -> float:
    fields = _stat(str(pid))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: str) -> list[str]:
    """Return the fields of a process after its name; zeros if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ["0"] * 13


def _pss_bytes(pid: int) -> int:
    """Return the memory of a process, of shared pages its part."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
        return int(rollup.partition("\nPss:")[2].split()[0]) * _KIB
    except (OSError, IndexError):
        return 0
