"""A job on Ray, killed and run again: each row answered once. Needs the extra `ray`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import polars as pl
import pytest
from bench._gateway import Engine
from tests.samples.command import meritorder

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="needs the extra `ray`")

ROWS = 600
CALLS = 16


def test_killed_job_goes_on(tmp_path: Path) -> None:
    lines = [json.dumps({"id": f"row-{number}", "prompt": f"prompt {number}"}) for number in range(ROWS)]
    (tmp_path / "rows.jsonl").write_text("\n".join([*lines, "not json", ""]))
    out = tmp_path / "answers"
    with Engine(tmp_path, max_sequences=8, token_s=0.005) as engine:
        job = ["run", "rows.jsonl", "--out", "answers", "--url", f"{engine.url}/v1", "--model", "stub"]
        job += ["--calls", str(CALLS), "--rows-per-file", "50"]
        command = [sys.executable, "-m", "meritorder", *job]
        process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL)
        while len(list(out.glob("*.parquet"))) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        stored = sum(pl.read_parquet(file).height for file in out.glob("*.parquet"))
        assert 100 <= stored < ROWS
        result = meritorder(tmp_path, *job, "--json", "run.json")
        with urlopen(f"{engine.url}/seen") as response:
            seen = Counter(json.load(response)["seen"])
    report = json.loads((tmp_path / "run.json").read_text())
    assert (report["rows"], report["left"]) == (ROWS + 1, 0)
    assert result.returncode == report["failed"]  # one row is not JSON, if this run and not the first one read it
    answers = pl.read_parquet(out / "*.parquet")
    assert sorted(answers["id"].drop_nulls()) == sorted(answers["id"].unique())
    assert answers.filter(pl.col("error").is_null()).height == ROWS
    # Asked again: what was not stored at the kill, at most the rows of the batches in work.
    assert sum(seen.values()) - ROWS <= ROWS - stored
    assert len(seen) == ROWS
