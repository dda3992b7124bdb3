"""Run a process and measure its time and its peak memory from outside."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
DATA: Final = ROOT.parent / "shared" / "data"
_KIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The resources that a process used, and its output."""

    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    output: str


def measure(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Run Python with these arguments, from the root of the project.

    Raises:
        RuntimeError: The process failed; the message ends with its last output.
    """
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    variables = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=variables, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed: {errors.read()[-500:]}")
        return Measured(
            seconds=seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_rss_bytes=usage.ru_maxrss * _KIB,
            output=output.read(),
        )
