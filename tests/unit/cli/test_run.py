"""run: what it needs, and options that contradict each other."""

import importlib.util
from pathlib import Path

import pytest
from tests.samples.command import meritorder_in_process

HAS_RAY = importlib.util.find_spec("ray") is not None


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_missing_ray_names_the_extra(tmp_path: Path) -> None:
    result = meritorder_in_process(tmp_path, "run", "rows.jsonl", "--out", "answers")
    assert result.returncode == 2
    assert "pip install 'meritorder[ray]'" in result.stderr


@pytest.mark.skipif(not HAS_RAY, reason="needs the extra `ray`")
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("--budget 5", "--budget: needs a price"),
        ("--budget nan --usd-per-hour 3", "nan is not an amount"),
        ("--budget 5 --usd-per-mtok 1,2", "needs a limit on answers"),
        ("--usd-per-mtok 1", "'1' is not two prices"),
        ("--usd-per-mtok -1,2", "'-1,2' is not two prices"),
        ("--usd-per-hour 0", "0.0 is not a price"),
        ("--usd-per-hour 3 --usd-per-mtok 1,2", "give one price, not two"),
        ("--max-outage soon", "'soon' is not a duration"),
        ("--deadline soon", "soon"),
    ],
)
def test_bad_option_is_one_line(tmp_path: Path, options: str, error: str) -> None:
    result = meritorder_in_process(tmp_path, "run", "rows.jsonl", "--out", "answers", *options.split())
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert error in result.stderr
    assert not (tmp_path / "answers").exists()
