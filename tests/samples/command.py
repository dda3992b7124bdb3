"""The command as a user runs it, in a process of its own or in this one."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest

from meritorder import cli

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


def meritorder_in_process(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `meritorder` in a folder as `meritorder` does, but in this process, which has imported it already."""
    with TemporaryDirectory() as streams:
        out, err = Path(streams, "stdout"), Path(streams, "stderr")
        with (
            contextlib.chdir(folder),
            mock.patch.dict(os.environ, {"COLUMNS": "120", **variables}),
            mock.patch.object(sys, "argv", ["meritorder", *arguments]),
            out.open("w") as stdout,
            err.open("w") as stderr,
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            pytest.raises(SystemExit) as ended,
        ):
            cli.main()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out.read_text(), err.read_text())
