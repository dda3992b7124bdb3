"""Compressed files and other encodings, as files of UTF-8 text, Parquet or Excel; formats of other kinds are named."""

import codecs
import re
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, Final

import polars as pl
from backports import zstd  # of the standard library from Python 3.14 on

from meritorder.errors import InputError
from meritorder.inputs.places import LocalFile, ScratchFolder
from meritorder.units import BYTES_PER_GIB

READ_ERRORS: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What reading a damaged file raises; a panic of Polars is no error of its own."""

MAX_UNPACKED_RATIO: Final = 200
MIN_UNPACKED_BYTES: Final = BYTES_PER_GIB // 4
"""A compressed file may unpack to 256 MiB, or to 200 times its size if that is more; few tables shrink 50 times."""

HEAD_BYTES: Final = 1 << 16
_BLOCK_BYTES: Final = 1 << 20
_DAMAGED: Final = "the compressed file is damaged or truncated"
_FETCH_AGAIN: Final = "fetch it again"
_GIVE_TABLES: Final = "give CSV, JSON or Parquet"

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
PARQUET: Final = b"PAR1"
ZIP: Final = b"PK"
_UTF8_MARK: Final = codecs.BOM_UTF8
_FIRST_PRINTABLE: Final = 32

_ENCODINGS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# In cp1252 a sign, such as a superscript, within a word; in cp1250 a letter of Polish, Czech, Slovak or Romanian.
_CENTRAL_EUROPEAN: Final = re.compile(
    rb"[A-Za-z\xc0-\xff][\xa5\xb3\xb9\xba\xbe\xbf][a-z]|(?<![A-Za-z0-9])[\xa3\xaf][a-z]{3}"
)
_FOREIGN: Final = (
    (b"BZh", "a bzip2 archive", "unpack it first"),
    (b"\xfd7zXZ", "an xz archive", "unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook or other Office file", "save it as .xlsx or CSV"),
    (b"SQLite format 3", "an SQLite database", "export its table as CSV"),
    (b"Obj\x01", "an Avro file", "write it as Parquet"),
    (b"ORC", "an ORC file", "write it as Parquet"),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
    (b"%PDF", "a PDF", _GIVE_TABLES),
    (b"<!DOCTYPE", "a web page", "fetch the file that it links to"),
    (b"<!doctype", "a web page", "fetch the file that it links to"),
    (b"<html", "a web page", "fetch the file that it links to"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainFile:
    """A file of UTF-8 text, or in the binary format that its first bytes tell.

    Args:
        name: The file as the user named it.
        path: Where its bytes are.
        head: Its first bytes, without a byte order mark.
        assumptions: What was assumed of its encoding, a sentence each.
    """

    name: str
    path: Path
    head: bytes
    assumptions: tuple[str, ...] = ()


def unpack(file: LocalFile, scratch: ScratchFolder) -> PlainFile:
    """Decompress a file and recode its text as UTF-8, each only where needed; content decides, not the name.

    Raises:
        InputError: The file is empty, damaged, of a kind that is not read here, or unpacks to far more than its size.
    """
    try:
        path = _decompressed(file, scratch)
        with path.open("rb") as source:
            head = source.read(HEAD_BYTES)
        if not head.strip():
            raise InputError("the file is empty", where=file.name, fix=_FETCH_AGAIN)
        for magic, what, fix in _FOREIGN:
            if head.lstrip().startswith(magic):
                raise InputError(f"is {what}", where=file.name, fix=fix)
        if head.startswith((PARQUET, ZIP)):
            return PlainFile(name=file.name, path=path, head=head)
        return _as_utf8(file.name, path, head, scratch)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=file.name) from error


def _decompressed(file: LocalFile, scratch: ScratchFolder) -> Path:
    with file.path.open("rb") as source:
        magic = source.read(4)
        source.seek(0)
        if magic.startswith(_GZIP):
            blocks = _gzip_blocks(source)
        elif magic == _ZSTD:
            blocks = _zstd_blocks(source)
        else:
            return file.path
        copy = scratch.new_path()
        limit_bytes = unpacked_limit_bytes(file.path.stat().st_size)
        unpacked_bytes = 0
        try:
            with copy.open("wb") as target:
                for block in blocks:
                    target.write(block)
                    unpacked_bytes += len(block)
                    check_unpacked_size(file.name, unpacked_bytes, limit_bytes)
        except (EOFError, BadGzipFile, zlib.error, zstd.ZstdError) as error:
            raise InputError(_DAMAGED, where=file.name, fix=_FETCH_AGAIN) from error
    return copy


def unpacked_limit_bytes(packed_bytes: int) -> int:
    """Return the most that a compressed file may unpack to."""
    return max(MIN_UNPACKED_BYTES, MAX_UNPACKED_RATIO * packed_bytes)


def check_unpacked_size(name: str, unpacked_bytes: int, limit_bytes: int) -> None:
    """Raise InputError if a file unpacks to more than its limit."""
    if unpacked_bytes > limit_bytes:
        what = f"unpacks to more than {limit_bytes >> 20:,} MiB, the limit for its size"
        raise InputError(what, where=name, fix="if it is meant to, unpack it first")


def _gzip_blocks(source: IO[bytes]) -> Iterator[bytes]:
    with GzipFile(fileobj=source) as decompressed:
        while block := decompressed.read(_BLOCK_BYTES):
            yield block


def _zstd_blocks(source: IO[bytes]) -> Iterator[bytes]:
    """Decompress frame after frame."""
    decompressor = None
    while packed := source.read(HEAD_BYTES):
        while packed:
            decompressor = decompressor or zstd.ZstdDecompressor()
            yield decompressor.decompress(packed)
            packed = b""
            if decompressor.eof:
                packed, decompressor = decompressor.unused_data, None
    if decompressor is not None:
        raise EOFError


def _as_utf8(name: str, path: Path, head: bytes, scratch: ScratchFolder) -> PlainFile:
    """Return text as UTF-8; text without a mark is UTF-8, or Windows-1252 or -1250 as Excel writes it."""
    marked = next((encoding for mark, encoding in _ENCODINGS if head.startswith(mark)), None)
    encoding = marked or _encoding_without_mark(head)
    if encoding is None:
        raise InputError("is neither text nor Parquet", where=name, fix=_GIVE_TABLES)
    if encoding == "utf-8":
        return PlainFile(name=name, path=path, head=head.removeprefix(_UTF8_MARK))
    copy = scratch.new_path()
    try:
        with path.open(encoding=encoding, newline="") as source, copy.open("w", encoding="utf-8", newline="") as target:
            shutil.copyfileobj(source, target, _BLOCK_BYTES)
    except UnicodeError as error:
        raise InputError(f"is not {encoding.upper()} text", where=name, fix=f"{_GIVE_TABLES}, as UTF-8") from error
    with copy.open("rb") as recoded:
        head = recoded.read(HEAD_BYTES).removeprefix(_UTF8_MARK)
    if not head.strip():
        raise InputError("the file is empty", where=name, fix=_FETCH_AGAIN)
    assumptions = () if marked else (f"text that is not UTF-8 is taken as {encoding.upper()}",)
    return PlainFile(name=name, path=copy, head=head, assumptions=assumptions)


def _encoding_without_mark(head: bytes) -> str | None:
    """Return the encoding of text by its first bytes; None if they are no text."""
    if b"\0" in head:
        even, odd = head[0::2].count(0), head[1::2].count(0)
        if max(even, odd) * 4 < len(head) or min(even, odd) * 4 > len(head):
            return None
        return "utf-16-le" if odd > even else "utf-16-be"
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
    strange = text.count("\N{REPLACEMENT CHARACTER}")
    if not strange:
        return "utf-8"
    if any(byte < _FIRST_PRINTABLE and byte not in b"\t\n\r\f" for byte in head):
        return None
    is_json = head.lstrip()[:1] in {b"{", b"["}
    other = sum(not character.isascii() for character in text) - strange
    if is_json or other > strange:
        return "utf-8"
    return "cp1250" if _CENTRAL_EUROPEAN.search(head) else "cp1252"
