"""`estimate`: what is missing is named; files are those that were asked for."""

import json
from pathlib import Path

import pytest

from meritorder.cli.estimate import estimate
from meritorder.errors import CatalogError, ConfigError, WorkloadsError


def test_missing_numbers_are_named() -> None:
    with pytest.raises(ConfigError, match="--input, --output must be given"):
        estimate(model="gpt-4.1-mini", requests_per_day=10)


def test_job_needs_a_time(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"id": 1, "prompt": "hello"}\n')
    with pytest.raises(ConfigError, match="--by: a job needs a time"):
        estimate([str(path)], model="gpt-4.1-mini")


def test_options_of_both_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"id": 1, "prompt": "hello"}\n')
    with pytest.raises(ConfigError, match="--requests-per-day: is for traffic"):
        estimate([str(path)], model="gpt-4.1-mini", by="24h", requests_per_day=5)
    with pytest.raises(ConfigError, match="--by: is for a job"):
        estimate(model="gpt-4.1-mini", by="24h", requests_per_day=5, input_=10, output=10)


def test_model_must_be_given() -> None:
    with pytest.raises(CatalogError, match="--model: no model was given"):
        estimate(requests_per_day=5, input_=10, output=10)


def test_mistaken_share_names_the_option() -> None:
    with pytest.raises(WorkloadsError, match="--can-wait: '30' is not a share"):
        estimate(model="gpt-4.1-mini", requests_per_day=10, input_=10, output=10, can_wait=["30"])


@pytest.mark.parametrize("width", [60, 100])
def test_answer_fits_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    answer, page, day = tmp_path / "e.json", tmp_path / "e.html", tmp_path / "day.csv"
    estimate(model="gpt-4.1-mini", requests_per_day=100, input_=100, output=10, write_trace=day, json=answer, html=page)
    shown = capsys.readouterr().out
    assert all(len(line) <= width for line in shown.splitlines())
    assert f"meritorder compare {day} --model gpt-4.1-mini".replace(" ", "") in "".join(shown.split())
    assert json.loads(answer.read_text())["schema"] == "meritorder.estimate/1"
    assert "<h1>" in page.read_text()
    assert len(day.read_text().splitlines()) == 1 + 100 * 20
