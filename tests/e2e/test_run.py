"""A job on Ray, killed and run again, here and on an object store: each row answered once. Needs the extra `ray`."""

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


def test_quote_foretells_the_run(tmp_path: Path) -> None:
    lines = [json.dumps({"id": number, "prompt": "x"}) for number in range(900)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with Engine(tmp_path, max_sequences=8, token_s=0.01) as engine:
        job = ["run", "rows.jsonl", "--out", "answers", "--url", f"{engine.url}/v1", "--model", "stub", "--calls", "8"]
        job += ["--usd-per-mtok", "1,4", "--max-tokens", "9", "--rows-per-file", "50", "--json", "told.json"]
        refused = meritorder(tmp_path, *job, "--quote", "--deadline", "1s", "--budget", "0.001")
        told = json.loads((tmp_path / "told.json").read_text())
        done = meritorder(tmp_path, *job)
        run = json.loads((tmp_path / "told.json").read_text())
    assert (refused.returncode, done.returncode) == (1, 0)
    assert (told["deadline_holds"], told["budget_holds"]) == (False, False)
    assert told["sampled"] + told["left"] == 900
    assert (run["answered"], run["rows"]) == (told["left"], 900)
    # Each row has 7 input and 9 output tokens, so that the quote is exact: $43 a million rows.
    assert told["cost_usd"] == pytest.approx([told["left"] * 43e-6] * 2)
    assert run["cost_usd"] == pytest.approx(told["cost_usd"][0])
    assert run["job_cost_usd"] == pytest.approx(900 * 43e-6)
    assert json.loads((tmp_path / "answers/receipt.json").read_text())["paid_usd"] == pytest.approx(900 * 43e-6)


def test_killed_job_goes_on_in_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    s3 = pytest.importorskip("boto3").client("s3")
    s3.create_bucket(Bucket="jobs")
    for part in range(3):
        lines = [json.dumps({"id": f"{part}-{number}", "prompt": "x"}) for number in range(100)]
        s3.put_object(Bucket="jobs", Key=f"in/{part}.jsonl", Body="\n".join(lines).encode())

    def files() -> list[str]:
        listed = s3.list_objects_v2(Bucket="jobs", Prefix="out/").get("Contents", [])
        return [file["Key"] for file in listed if file["Key"].endswith(".parquet")]

    with Engine(tmp_path, max_sequences=8, token_s=0.02) as engine:
        job = ["run", "s3://jobs/in", "--out", "s3://jobs/out", "--url", f"{engine.url}/v1", "--model", "stub"]
        job += ["--calls", "8", "--rows-per-file", "20"]
        command = [sys.executable, "-m", "meritorder", *job]
        process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL)
        while len(files()) < 2:
            assert process.poll() is None
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        result = meritorder(tmp_path, *job, "--json", "run.json")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "run.json").read_text())
    assert (report["rows"], report["left"]) == (300, 0)
    assert report["answered"] <= 260
    for name in files():
        s3.download_file("jobs", name, str(tmp_path / Path(name).name))
    answers = pl.read_parquet(tmp_path / "*.parquet")
    assert (answers.height, answers["id"].n_unique(), answers["error"].null_count()) == (300, 300, 300)
    server.stop()
