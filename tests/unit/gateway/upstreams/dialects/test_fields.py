"""Fields of a request, none of which may be lost in translation."""

import pytest

from meritorder.gateway.errors import UnsupportedError
from meritorder.gateway.upstreams.dialects.fields import FieldReader, data_url


def test_leftover_field_is_refused_by_path() -> None:
    (message,) = FieldReader({"messages": [{"role": "user", "audio": "x"}]}, venue="v").each("messages")
    assert message.text("role") == "user"
    with pytest.raises(UnsupportedError) as refused:
        message.done()
    assert refused.value.param == "messages[0].audio"


def test_fields_without_effect_are_ignored() -> None:
    FieldReader({"n": 1, "tools": [], "user": None, "service_tier": "flex"}, venue="v").done()
    with pytest.raises(UnsupportedError):
        FieldReader({"n": 2}, venue="v").done()


def test_string_content_is_one_part() -> None:
    reader = FieldReader({"content": "hello"}, venue="v")
    (part,) = reader.parts("content")
    assert (part.text("type"), part.text("text")) == ("text", "hello")
    reader.done()


def test_boolean_is_no_number() -> None:
    with pytest.raises(UnsupportedError, match="number"):
        FieldReader({"temperature": True}, venue="v").number("temperature")


def test_data_url_splits_type_and_data() -> None:
    assert data_url("data:image/png;base64,AAAA") == ("image/png", "AAAA")
    assert data_url("https://example.com/x.png") is None
    assert data_url("data:text/plain,hello") is None
