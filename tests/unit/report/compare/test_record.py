import json

import msgspec
import pytest
from tests.samples.comparison import week

from meritorder.comparison import SCHEMA
from meritorder.errors import ConfigError
from meritorder.report.compare.record import decode, encode


def test_what_was_written_reads_back_the_same() -> None:
    assert decode(encode(week())) == week()


def test_the_schema_comes_first_and_the_order_is_stable() -> None:
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


def test_a_column_of_numbers_stays_on_one_line() -> None:
    lines = encode(week()).decode().splitlines()
    assert sum('"capacity": [14.0, 14.0, ' in line for line in lines) == 1
    assert len(lines) < 1000


def test_text_that_looks_like_numbers_is_left_alone() -> None:
    odd = msgspec.structs.replace(week(), sentence="[\n  1,\n  2]", performance=["1,\n2", "3"])
    assert decode(encode(odd)) == odd


@pytest.mark.parametrize("document", [b"", b"{}", b"[1, 2]", b"not json"])
def test_what_is_no_answer_is_refused_in_one_line(document: bytes) -> None:
    with pytest.raises(ConfigError, match="not an answer") as error:
        decode(document, where="out.json")
    assert str(error.value).startswith("out.json: ")
    assert "\n" not in str(error.value)


def test_another_schema_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"meritorder\.compare/0 is not"):
        decode(encode(week()).replace(SCHEMA.encode(), b"meritorder.compare/0"))
