"""The tour, whole, on an engine that sleeps instead of computing."""

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 600
PORT = 8397


def _take(folder: Path) -> str:
    command = [sys.executable, "-m", "bench.tour", "--engine", "modelled", "--folder", str(folder), "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.nightly
def test_tour_saves_and_goes_on(tmp_path: Path) -> None:
    told = _take(tmp_path / "tour")
    measured, simulated = told.partition("5. What it saved")[2].partition("Simulated:")[::2]
    share = int(measured.partition("a request cost ")[2].partition(" %")[0])
    # The engine runs for one of two slots of a minute, and the seconds of its start.
    assert 40 <= share <= 50, told
    assert " less as planned" in measured
    assert " 0 late" in measured
    assert "were saved" in simulated
    assert _take(tmp_path / "tour").count("This was done before.") == 6
    for _ in range(2):  # the same address answers again
        assert "In real time these 56 requests cost" in _first_page(tmp_path / "tour")


def _first_page(folder: Path) -> str:
    """Return the page that a tour invites to, and end it."""
    command = [sys.executable, "-m", "bench.tour", "--engine", "modelled", "--folder", str(folder), "--port", str(PORT)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as staying:
        try:
            assert staying.stdout is not None
            invitation = next(line for line in staying.stdout if "Open http" in line)
            url = next(word for word in invitation.split() if word.startswith("http"))
            assert url == f"http://127.0.0.1:{PORT}/plan"
            return httpx2.get(url).text
        finally:
            staying.terminate()
