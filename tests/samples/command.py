"""The command as a user runs it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def meritorder(
    folder: Path, *arguments: str, stdin: str = "", timeout_s: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run `meritorder` in a folder, on the sources of this checkout, for a terminal of 120 columns."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "meritorder", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "120"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
