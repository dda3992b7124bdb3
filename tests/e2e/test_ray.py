"""A sweep over a real Ray cluster, one node of which is this machine. Needs the extra `ray`."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from tests.samples.command import meritorder

RAY = Path(sys.executable).with_name("ray")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RAY.exists(), reason="Ray is not installed: pip install 'meritorder[ray]'"),
]


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else a token that Ray has left in the home folder is needed
    address = free_address()
    host, _, port = address.partition(":")
    start = [RAY, "start", "--head", "--block", "--node-ip-address", host, "--port", port, "--num-cpus", "2"]
    quiet = ["--include-dashboard=false", "--disable-usage-stats"]
    with (tmp_path / "ray.log").open("w") as log, subprocess.Popen([*start, *quiet], stdout=log, stderr=log) as head:
        try:
            for _ in range(30):
                status = [RAY, "status", "--address", address]
                if subprocess.run(status, capture_output=True, timeout=120, check=False).returncode == 0:
                    break
            yield address
        finally:
            head.terminate()


@pytest.fixture
def trace(tmp_path: Path) -> str:
    rows = "".join(f"{second},{300 + second % 7},40\n" for second in range(600))
    (tmp_path / "trace.csv").write_text(f"time,input_tokens,output_tokens\n{rows}")
    return "trace.csv"


def test_cluster_sweep_equals_local_sweep(tmp_path: Path, trace: str, cluster: str) -> None:
    sweep = ("sweep", trace, "--model", "llama-3.1-8b", "--vary", "share=0%,40%,80%", "--out")
    for done in (meritorder(tmp_path, *sweep, "far", "--ray", cluster), meritorder(tmp_path, *sweep, "here")):
        assert done.returncode == 0, done.stderr
    far, here = pl.read_parquet(tmp_path / "far"), pl.read_parquet(tmp_path / "here")
    assert far.equals(here)
    assert far["share"].unique().sort().to_list() == ["0%", "40%", "80%"]


def test_missing_cluster_is_one_line(tmp_path: Path, trace: str) -> None:
    address = free_address()
    done = meritorder(tmp_path, "sweep", trace, "--model", "llama-3.1-8b", "--vary", "tp=1", "--ray", address)
    assert done.returncode == 2
    assert f"no Ray cluster responds at {address}" in done.stderr
    assert "Traceback" not in done.stderr
