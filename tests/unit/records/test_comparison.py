import json

import msgspec
import pytest
from tests.samples.comparison import week

from meritorder import documents
from meritorder.documents import encode
from meritorder.errors import ConfigError
from meritorder.records.comparison import SCHEMA, Comparison


def decode(document: bytes, where: str | None = None) -> Comparison:
    names = {"what": "an answer of `compare`", "command": "meritorder compare"}
    return documents.decode(document, Comparison, schema=SCHEMA, where=where, **names)


def test_answer_reads_back_as_written() -> None:
    assert decode(encode(week())) == week()


def test_schema_first_and_stable_order() -> None:
    document = json.loads(encode(week()))
    assert next(iter(document.items())) == ("schema", SCHEMA)
    assert encode(week()) == encode(week())
    assert {
        "trace",
        "assumptions",
        "arrangements",
        "waterfall",
        "baseline",
        "saving_share",
    } <= document.keys()


def test_numbers_stay_on_one_line() -> None:
    lines = encode(week()).decode().splitlines()
    assert sum('"capacity": [14.0, 14.0, ' in line for line in lines) == 1
    assert len(lines) < 1000


def test_text_like_numbers_is_unchanged() -> None:
    odd = msgspec.structs.replace(week(), sentence="[\n  1,\n  2]", performance=["1,\n2", "3"])
    assert decode(encode(odd)) == odd


@pytest.mark.parametrize("document", [b"", b"{}", b"[1, 2]", b"not json"])
def test_invalid_answer_is_refused(document: bytes) -> None:
    with pytest.raises(ConfigError, match="not an answer") as error:
        decode(document, where="out.json")
    assert str(error.value).startswith("out.json: ")
    assert "\n" not in str(error.value)


def test_another_schema_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"of schema meritorder\.compare/0"):
        decode(encode(week()).replace(SCHEMA.encode(), b"meritorder.compare/0"))
