"""Rows of jobs: what of a row becomes a request, and what is none."""

import json

import pytest

from meritorder.inputs.prompts import PromptRules

pytest.importorskip("ray", reason="needs the extra `ray`")

from meritorder.jobs import rows


def rules(id_column: str = "", *, are_prompts: bool = False) -> rows.RowRules:
    prompts = PromptRules(model="small", max_tokens=7)
    return rows.RowRules(id_column=id_column, are_prompts=are_prompts, prompts=prompts)


def line(**fields: object) -> dict[str, bytes]:
    return {rows.LINE: json.dumps(fields).encode()}


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
        ({rows.LINE: b"{not json"}, "is not JSON"),
        ({rows.LINE: b"[" * 100_000}, "nested too deeply"),
        (line(prompt="x", url=5), "has the url 5"),
        ({"id": "1", "prompt": None, rows.FAULT: "has 3 cells"}, "has 3 cells"),
        (line(id="a"), "has no 'prompt'"),
        (line(id="a", body=[1]), "no JSON object"),
        (line(prompt="x", key=None), "has no 'key'"),
        (line(id="a", body={"stream": True, "messages": []}), "asks for a stream"),
    ],
)
def test_bad_row_has_its_error(row: dict[str, bytes], error: str) -> None:
    assert error in rules("key" if "key" in error else "").to_request(row).error


def test_bad_row_keeps_its_id() -> None:
    assert rules().to_request(line(id="a")).id == "a"


def test_bad_bytes_end_nothing() -> None:
    request = rules().to_request({rows.LINE: b'{"id": "a", "prompt": "\xff"}'})
    assert (request.error, request.body) == ("the row is not Unicode", b"")
    assert request.row == '{"id": "a", "prompt": "\\xff"}'


def test_surrogates_can_be_stored() -> None:
    request = rules().to_request({rows.LINE: b'{"id": "\\ud800", "prompt": "x"}'})
    assert (request.id, request.error) == ("\\ud800", "")
    assert rules().to_request({rows.LINE: b'{"id": "a", "prompt": "\\ud800"}'}).error == "the row is not Unicode"


def test_budget_counts_every_choice() -> None:
    body = {"messages": [], "max_tokens": 7, "max_completion_tokens": 9, "n": 3}
    assert rules().to_request(line(body=body)).max_tokens == 27
    assert rules().to_request(line(body={"messages": [], "max_tokens": -5})).max_tokens is None


def test_table_of_one_text_column_is_prompts() -> None:
    prompts = PromptRules(model="small", prompt="text")
    request = rows.RowRules(id_column="", are_prompts=False, prompts=prompts).to_request({"text": "Name a river."})
    assert json.loads(request.body)["messages"][0]["content"] == "Name a river."
