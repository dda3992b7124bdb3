"""Files of prompts as requests of a batch."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from meritorder.errors import ConfigError
from meritorder.inputs.prompts import PromptRules, is_batch_file, write_batch_file

LINE = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "x"}}


def convert(path: Path, **options: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - fields of PromptRules
    target = path.with_name("converted.jsonl")
    count = write_batch_file(path, target, PromptRules(model="m", **options))
    lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == count
    assert all(line["method"] == "POST" for line in lines)
    return lines


def said(line: dict[str, Any]) -> str:
    return line["body"]["messages"][0]["content"]  # type: ignore[no-any-return]


def test_text_has_a_prompt_per_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("Grüße\n\n{not json}\r\n", encoding="utf-8")
    lines = convert(path, max_tokens=5)
    assert [said(line) for line in lines] == ["Grüße", "{not json}"]
    assert [line["custom_id"] for line in lines] == ["line-1", "line-2"]
    assert lines[0]["body"] | {"messages": []} == {"model": "m", "max_tokens": 5, "messages": []}
    assert lines[0]["url"] == "/v1/chat/completions"


def test_parquet_has_prompts_messages_or_bodies(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    pl.DataFrame({"id": [7, 8], "question": ["one", "two"], "model": ["other", None]}).write_parquet(path)
    lines = convert(path, prompt="question")
    assert [(line["custom_id"], said(line), line["body"]["model"]) for line in lines] == [
        ("7", "one", "other"),
        ("8", "two", "m"),
    ]
    messages = [[{"role": "user", "content": "one", "name": None}]]
    pl.DataFrame({"messages": messages}).write_parquet(path)
    assert convert(path)[0]["body"]["messages"] == [{"role": "user", "content": "one"}]
    pl.DataFrame({"url": ["/v1/embeddings"], "body": ['{"input": "one"}']}).write_parquet(path)
    (line,) = convert(path)
    assert (line["url"], line["body"]) == ("/v1/embeddings", {"model": "m", "input": "one"})


@pytest.mark.parametrize(
    ("name", "content"),
    [("p.csv", "prompt,x\none,1\n"), ("p.jsonl", '"one"\n'), ("p.jsonl", '{"prompt": "one"}\n')],
)
def test_other_files_of_prompts(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert not is_batch_file(path)
    assert said(convert(path)[0]) == "one"


def test_batch_files_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_text(json.dumps(LINE) + "\n", encoding="utf-8")
    assert is_batch_file(path)
    path.write_text("broken\n", encoding="utf-8")
    assert is_batch_file(path), "the gateway's client says what is wrong"
    with pytest.raises(ConfigError):
        is_batch_file(tmp_path / "nothing.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.txt", b"\n", "has no prompts"),
        ("p.csv", b"text\none\n", "row 1 has no 'prompt': it has text"),
        ("p.parquet", b"PAR1", "cannot be read"),
        ("p.jsonl", b'{"messages": null, "body": [1]}', "no JSON object"),
        ("p.txt", b"\xff\xfe", "cannot be read"),
        ("p.jsonl", b'{"prompt": "a"}\n{broken\n', "cannot be read"),
    ],
)
def test_unusable_file_is_one_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        convert(path)
