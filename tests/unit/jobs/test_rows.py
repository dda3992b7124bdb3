"""Rows of jobs: files of each kind, and what of a row becomes a request."""

import gzip
import json
from pathlib import Path

import pytest

from meritorder.errors import ConfigError
from meritorder.inputs.prompts import PromptRules

pytest.importorskip("ray", reason="needs the extra `ray`")

from meritorder.jobs import rows


def rules(id_column: str = "", *, are_prompts: bool = False) -> rows.RowRules:
    prompts = PromptRules(model="small", max_tokens=7)
    return rows.RowRules(id_column=id_column, are_prompts=are_prompts, prompts=prompts)


def line(**fields: object) -> dict[str, str]:
    return {rows.LINE: json.dumps(fields)}


def test_prompt_becomes_chat_completion() -> None:
    request = rules().to_request(line(id="a", prompt="Name a river."))
    assert (request.id, request.path, request.max_tokens) == ("a", "/v1/chat/completions", 7)
    assert json.loads(request.body)["messages"] == [{"role": "user", "content": "Name a river."}]


def test_line_of_batch_file_keeps_its_body() -> None:
    body = {"model": "large", "input": "x", "max_output_tokens": 3}
    request = rules().to_request(line(custom_id="7", method="POST", url="/v1/responses", body=body))
    assert (request.id, request.path, request.max_tokens) == ("7", "/v1/responses", 3)
    assert json.loads(request.body) == body


def test_row_without_id_is_identified_by_content() -> None:
    first, again, other = (rules().to_request(line(prompt=text)) for text in ("one", "one", "two"))
    assert first.id == again.id != other.id
    assert first.row == '{"prompt": "one"}'


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({rows.LINE: "{not json"}, "is not JSON"),
        (line(id="a"), "has no 'prompt'"),
        (line(id="a", body=[1]), "no JSON object"),
        (line(prompt="x", key=None), "has no 'key'"),
        (line(id="a", body={"stream": True, "messages": []}), "asks for a stream"),
    ],
)
def test_bad_row_has_its_error(row: dict[str, str], error: str) -> None:
    assert error in rules("key" if "key" in error else "").to_request(row).error


def test_bad_row_keeps_its_id() -> None:
    assert rules().to_request(line(id="a")).id == "a"


def test_files_of_two_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,prompt\n1,x\n")
    (tmp_path / "b.jsonl").write_text('{"prompt": "x"}\n')
    with pytest.raises(ConfigError, match=r"several kinds: \.csv, \.jsonl"):
        rows.read_files([str(tmp_path)])


def test_folder_is_read_without_notes_of_tools(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with gzip.open(tmp_path / "data" / "part.jsonl.gz", "wt") as file:
        file.write('{"prompt": "x"}\n')
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "_SUCCESS.jsonl").write_text("")
    assert rows.files_of(str(tmp_path)) == [str(tmp_path / "data" / "part.jsonl.gz")]


@pytest.mark.parametrize("name", ["missing.jsonl", "rows.xyz", "empty"])
def test_unreadable_path_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.xyz").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=name):
        rows.files_of(str(tmp_path / name))
