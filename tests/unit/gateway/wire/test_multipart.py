import asyncio
from collections.abc import AsyncIterator

import pytest

from meritorder.gateway.wire.errors import ApiError
from meritorder.gateway.wire.multipart import Form

BODY = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\nline 1\r\nline 2\r\n--b--\r\n'
)


def parsed(body: bytes, size: int, *, max_bytes: int = 100) -> tuple[Form, bytes]:
    form = Form(content_type="multipart/form-data; boundary=b", file_field="file", max_bytes=max_bytes)

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    async def collect() -> bytes:
        return b"".join([part async for part in form.file(parts())])

    return form, asyncio.run(collect())


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_file_and_fields(size: int) -> None:
    form, content = parsed(BODY, size)
    assert content == b"line 1\r\nline 2"
    assert (form.fields, form.filename) == ({"purpose": "batch"}, "a.jsonl")


def test_file_at_limit() -> None:
    assert len(parsed(BODY, 5, max_bytes=14)[1]) == 14
    with pytest.raises(ApiError) as caught:
        parsed(BODY, 5, max_bytes=13)
    assert caught.value.status == 413


def test_incomplete_form_is_refused() -> None:
    with pytest.raises(ApiError, match="incomplete"):
        parsed(BODY[:-10], 5)


def test_other_content_is_refused() -> None:
    with pytest.raises(ApiError, match="multipart/form-data"):
        Form(content_type="application/json", file_field="file", max_bytes=1)


def test_long_field_is_refused() -> None:
    with pytest.raises(ApiError, match="'purpose' is too long"):
        parsed(BODY.replace(b"batch", b"x" * 65_537), 1000)


FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\nx\r\n'
FIELD = b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (FILE % b"a" + FILE % b"b" + b"--b--\r\n", "more than one file"),
        (FILE % (b"a" * 513) + b"--b--\r\n", "longer than 512"),
        (b"".join(FIELD % number for number in range(33)) + b"--b--\r\n", "more than 32 fields"),
        (b"--b\r\n" + b"x: y\r\n" * 100 + b"\r\n--b--\r\n", "could not be parsed"),
        (b"--b\r\nx: " + b"y" * 100_000, "could not be parsed"),
        (b"not a form", "could not be parsed"),
    ],
)
def test_malformed_form_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        parsed(body, 5000)
    assert caught.value.status == 400


def test_what_follows_the_form_is_bounded() -> None:
    with pytest.raises(ApiError) as caught:
        parsed(BODY + b"x" * (2 << 20), 1 << 16)
    assert caught.value.status == 413


@pytest.mark.parametrize("boundary", ["", '""', "b" * 257, "\xe4" * 300])
def test_odd_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(ApiError) as caught:
        Form(content_type=f"multipart/form-data; boundary={boundary}", file_field="file", max_bytes=1)
    assert caught.value.status == 400
