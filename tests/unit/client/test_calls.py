import json

from meritorder.client.calls import Promise, failure, in_anthropic_form, make_call

PROMISE = Promise(endpoint="/chat/completions", model="m", deadline="4h")


def test_order_of_fields_does_not_matter() -> None:
    assert make_call(b'{"a": 1, "b": [2, 3]}', PROMISE) == make_call(b'{"a": 1, "b": [2, 3]}', PROMISE)
    assert make_call(b'{"b": [2, 3], "a": 1}', PROMISE).key == make_call(b'{"a": 1, "b": [2, 3]}', PROMISE).key
    assert make_call(b'{"a": 1, "b": [3, 2]}', PROMISE).key != make_call(b'{"a": 1, "b": [2, 3]}', PROMISE).key


def test_deadline_is_not_in_the_key() -> None:
    sooner = Promise(endpoint="/chat/completions", model="m", deadline="1h")
    elsewhere = Promise(endpoint="/completions", model="m", deadline="4h")
    assert make_call(b"{}", sooner).key == make_call(b"{}", PROMISE).key
    assert make_call(b"{}", elsewhere).key != make_call(b"{}", PROMISE).key


def test_given_key_is_no_hash() -> None:
    by_body = make_call(b"{}", PROMISE)
    posing = make_call(b'{"x": 1}', PROMISE, key=by_body.key.removeprefix("body:"))
    assert posing.key != by_body.key


def test_line_is_one_line_of_a_batch() -> None:
    body = {"model": "m", "messages": [{"content": "two\nlines \u2028 \u00e9"}]}
    line = make_call(json.dumps(body, indent=1, ensure_ascii=False).encode(), PROMISE).line
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line)["body"] == body
    assert json.loads(line)["url"] == "/v1/chat/completions"


def test_errors_take_anthropic_form() -> None:
    """As Anthropic documents it; what has the form already stays."""
    translated = in_anthropic_form(failure(404, "No such model.", code="model_not_found"))
    assert translated.status == 404
    error = {"type": "invalid_request_error", "message": "No such model."}
    assert json.loads(translated.body) == {"type": "error", "error": error}
    assert in_anthropic_form(translated) == translated
