"""Versioned records as JSON."""

from pathlib import Path

import msgspec
import pytest

from meritorder import documents
from meritorder.errors import ConfigError


class Note(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    sizes: list[float]
    schema: str = "meritorder.note/2"


def decoded(text: bytes) -> Note:
    return documents.decode(
        text, Note, schema="meritorder.note/2", what="a note", command="meritorder note", where="note.json"
    )


def test_schema_first_and_numbers_inline() -> None:
    lines = documents.encode(Note(text="x", sizes=[1.0, 2.5])).decode().splitlines()
    assert lines[1] == '  "schema": "meritorder.note/2",'
    assert lines[3] == '  "sizes": [1.0, 2.5]'


def test_record_survives_a_round_trip() -> None:
    note = Note(text="[\n 1,\n 2]", sizes=[])
    assert decoded(documents.encode(note)) == note


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"no json", "note.json: not a note: .* write one with `meritorder note`"),
        (b"{}", "it names no schema"),
        (b'{"schema": "meritorder.plan/2"}', "its schema is 'meritorder.plan/2'"),
        (b'{"schema": "meritorder.note/3"}', "but this version reads meritorder.note/2; upgrade meritorder"),
        (b'{"schema": "meritorder.note/1"}', "write it again with `meritorder note`"),
        (b'{"schema": "meritorder.note/2"}', "missing required field `text`"),
    ],
)
def test_other_documents_are_refused(text: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decoded(text)


def test_files_read_at_once_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small").write_bytes(b"12345")
    assert documents.read_file(tmp_path / "small") == b"12345"
    monkeypatch.setattr(documents, "MAX_FILE_BYTES", 4)
    for path, reason in ((tmp_path / "small", "is larger than"), (Path("/dev/zero"), "is a device"), (tmp_path, "dir")):
        with pytest.raises(OSError, match=reason):
            documents.read_file(path)


def test_deep_document_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a note"):
        decoded(b'{"schema":' * 100_000)


def test_text_that_is_not_utf8_is_refused() -> None:
    text = documents.encode(Note(text="abc", sizes=[]))
    with pytest.raises(ConfigError, match=r"note\.json"):
        decoded(text.replace(b"abc", b"a\xffc"))
