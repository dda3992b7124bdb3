"""The lines of an input file."""

import pytest

from meritorder.gateway.workers.batch_input import _lines

TEXT = b'{"a": 1}\n\n{"b": 2}\r\nlast'


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_offsets_point_into_the_file(size: int) -> None:
    parts = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    lines = list(_lines(parts, max_bytes=100))
    assert [line.number for line in lines] == [1, 3, 4]
    for line in lines:
        assert line.text is not None
        assert TEXT[line.offset :].startswith(line.text)


def test_long_line_ends_the_reading() -> None:
    lines = list(_lines([b"short\n", b"x" * 50, b"x" * 50, b"\nnever"], max_bytes=60))
    assert [(line.number, line.text) for line in lines] == [(1, b"short"), (2, None)]
