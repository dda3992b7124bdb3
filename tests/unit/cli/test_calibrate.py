"""The command from a log on disk to a profile on disk, in this process."""

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from meritorder.cli import app
from meritorder.errors import CatalogError, ConfigError
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


def test_mistakes_name_the_option(tmp_path: Path) -> None:
    path = str(log(tmp_path / "log.csv"))
    out = ["--out", str(tmp_path / "profile.toml")]
    found = CliRunner().invoke(app, ["calibrate", path, "--model", "gpt-9", *out]).exception
    assert isinstance(found, CatalogError)
    found = CliRunner().invoke(app, ["calibrate", "http://127.0.0.1:9", *out]).exception
    assert isinstance(found, ConfigError)
    assert not (tmp_path / "profile.toml").exists()
