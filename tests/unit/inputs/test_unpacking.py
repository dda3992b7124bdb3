"""Compressed files and other encodings become UTF-8; limits hold; what is not read here is named."""

import gzip
from pathlib import Path

import pytest
from backports import zstd

from meritorder.errors import InputError
from meritorder.inputs import unpacking
from meritorder.inputs.places import LocalFile, ScratchFolder
from meritorder.inputs.unpacking import PlainFile, unpack

TEXT = "tenant;tokens\nMüller;5\n"


def opened(tmp_path: Path, content: bytes) -> tuple[PlainFile, str]:
    path = tmp_path / "file"
    path.write_bytes(content)
    scratch = ScratchFolder()
    file = unpack(LocalFile(name="file", path=path), scratch)
    return file, file.path.read_text(encoding="utf-8-sig")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
def test_any_encoding_becomes_utf8(tmp_path: Path, encoding: str, pack: object) -> None:
    file, text = opened(tmp_path, pack(TEXT.encode(encoding)))
    assert text == TEXT
    assert file.head.decode() == TEXT
    assert bool(file.assumptions) == (encoding in {"cp1252", "utf-16-le", "utf-16-be"})


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1250", "czas;użytkownik\n1;Łukasz Żak\n"),
        ("cp1250", "id;kwota\n1;sprzedaż gotówkowa, różne\n"),
        ("cp1252", "Prix;Œuvre\n£5bn;façade 3 m³ à l'été\n"),
        ("cp1252", "quién;¿Cuánto?\n1.º;90 µm²\n"),
    ],
)
def test_central_and_western_european_text_told_apart(tmp_path: Path, encoding: str, text: str) -> None:
    file, read = opened(tmp_path, text.encode(encoding))
    assert read == text
    assert file.assumptions == (f"text that is not UTF-8 is taken as {encoding.upper()}",)


def test_few_bad_bytes_keep_utf8(tmp_path: Path) -> None:
    """One broken character among sound ones is no reason to read all of them in another encoding."""
    content = TEXT.encode() * 9 + b"M\xfcller;5\n"
    path = tmp_path / "file"
    path.write_bytes(content)
    assert unpack(LocalFile(name="file", path=path), ScratchFolder()).path == path


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_bombs_are_stopped_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: object) -> None:
    monkeypatch.setattr(unpacking, "MIN_UNPACKED_BYTES", 10 << 20)
    with pytest.raises(InputError, match="file: unpacks to more than 10 MiB, the limit for its size"):
        opened(tmp_path, pack(b"a,b\n" * (4 << 20)))
    assert len(opened(tmp_path, pack(b"a,b\n" * (2 << 20)))[1]) == 8 << 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (gzip.compress(b" \n"), "the file is empty"),
        ("\n".encode("utf-16"), "the file is empty"),
        (b"\x00\x01\x02\x03binary\xff", "is neither text nor Parquet"),
        (b"\xff\xfea\x00b", "is not UTF-16 text"),
        (b"BZh91AY", "is a bzip2 archive; unpack it first"),
        (b"SQLite format 3\x00", "is an SQLite database; export its table as CSV"),
        (b"<!DOCTYPE html><title>Sign in", "is a web page"),
        (gzip.compress(TEXT.encode() * 99)[:40], "the compressed file is damaged or truncated"),
        (zstd.compress(TEXT.encode() * 99)[:20], "the compressed file is damaged or truncated"),
    ],
    # Compressed bytes hold the time, so that they cannot name a test.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_files_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=f"^file: {said}"):
        opened(tmp_path, content)
