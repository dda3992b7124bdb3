"""The command from a log on disk to a profile on disk, in this process."""

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from meritorder.cli import app
from meritorder.errors import CatalogError, ConfigError, PerformanceError
from meritorder.perf.shipped import load_profiles

HEAD = "arrival_s,input_tokens,output_tokens,ttft_ms,e2e_ms,model,gpu"


def log(path: Path, count: int = 60) -> Path:
    """Write requests of an engine that steps in 10 ms whatever it holds, and reads 20 tokens a millisecond."""
    rng = np.random.default_rng(3)
    rows = [HEAD]
    for number in range(count):
        prompt, output = int(rng.integers(100, 2000)), int(rng.integers(20, 200))
        ttft_ms = 5 + prompt / 20
        rows.append(f"{number * 0.2},{prompt},{output},{ttft_ms},{ttft_ms + 10 * (output - 1)},llama-3.1-8b,L40S")
    path.write_text("\n".join(rows))
    return path


def test_log_becomes_a_profile(tmp_path: Path) -> None:
    out = tmp_path / "profile.toml"
    result = CliRunner().invoke(app, ["calibrate", str(log(tmp_path / "log.csv")), "--out", str(out), "--fit", "30"])
    assert result.exit_code == 0, result.output
    (profile,) = load_profiles(out)
    assert (profile.model, profile.hardware, profile.provenance) == ("llama-3.1-8b", "l40s", "calibrated")
    assert profile.calibration is not None
    assert (profile.calibration.fitted_on, profile.calibration.judged_on) == (30, 30)
    assert "errors on 30 requests" in " ".join(result.output.split())


def test_times_of_no_engine_are_refused(tmp_path: Path) -> None:
    """The times are milliseconds, and their names say seconds: no token takes ten seconds."""
    path, out = log(tmp_path / "log.csv"), tmp_path / "profile.toml"
    path.write_text(path.read_text().replace("ttft_ms,e2e_ms", "ttft_s,e2e_s"))
    out.write_text("as before")
    found = CliRunner().invoke(app, ["calibrate", str(path), "--out", str(out)]).exception
    assert isinstance(found, PerformanceError)
    assert "no profile fits" in str(found)
    assert "check the units" in str(found)
    assert out.read_text() == "as before"


def test_milliseconds_without_a_suffix_are_found(tmp_path: Path) -> None:
    path, out = log(tmp_path / "log.csv"), tmp_path / "profile.toml"
    path.write_text(path.read_text().replace("ttft_ms,e2e_ms", "ttft,e2e"))
    result = CliRunner().invoke(app, ["calibrate", str(path), "--out", str(out), "--kv-capacity", "90000"])
    assert result.exit_code == 0, result.output
    assert "ttft, e2e are taken as ms" in " ".join(result.output.split())
    (profile,) = load_profiles(out)
    assert profile.kv_capacity_tokens == 90_000
    assert profile.calibration is not None
    assert profile.calibration.parameters["kv_capacity_scale"] == 1


def test_accelerator_needs_a_price(tmp_path: Path) -> None:
    path, out = log(tmp_path / "log.csv"), tmp_path / "profile.toml"
    path.write_text(path.read_text().replace(",gpu", ",place").replace("L40S", "rack7"))
    found = CliRunner().invoke(app, ["calibrate", str(path), "--out", str(out)]).exception
    assert isinstance(found, CatalogError)
    assert "accelerator is not stated; state it with --hardware, or describe it with --catalog" in str(found)


def test_mistakes_name_the_option(tmp_path: Path) -> None:
    path = str(log(tmp_path / "log.csv"))
    out = ["--out", str(tmp_path / "profile.toml")]
    found = CliRunner().invoke(app, ["calibrate", path, "--model", "gpt-9", *out]).exception
    assert isinstance(found, CatalogError)
    found = CliRunner().invoke(app, ["calibrate", "http://127.0.0.1:9", *out]).exception
    assert isinstance(found, ConfigError)
    assert not (tmp_path / "profile.toml").exists()
