"""Versioned records as readable JSON with a stable order of fields, files that are read at once, and the cache."""

import errno
import os
import re
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from meritorder.errors import ConfigError

_Record = TypeVar("_Record", bound=msgspec.Struct)

# JSON strings contain no raw line break, so that only an array of numbers matches.
_NUMBERS: Final = re.compile(rb"\[\n[-+.0-9eE,\s]+\]")
_BLANK: Final = re.compile(rb"\s+")
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


# msgspec does not wrap Python's own errors for text that is not UTF-8, or that is nested deeply.
_INVALID: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

MAX_FILE_BYTES: Final = 1 << 28
"""Catalogs, plans, profiles and option files are read at once, and none is near this size."""


def cache_folder() -> Path:
    """Return the folder of what can be made again: `meritorder` in the user's cache folder (XDG_CACHE_HOME)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meritorder"


def read_file(path: Path) -> bytes:
    """Return the content of a file that is read at once.

    Raises:
        OSError: It cannot be read, is no regular file, or is larger than 256 MiB.
    """
    if path.exists() and not (path.is_file() or path.is_fifo()):
        reason = "Is a directory" if path.is_dir() else "is a device, not a file"
        raise OSError(errno.EINVAL, reason, str(path))
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"is larger than {MAX_FILE_BYTES >> 20} MiB", str(path))
    return content


def encode(record: msgspec.Struct) -> bytes:
    """Encode a record with a `schema` field as indented JSON: `schema` first, each array of numbers on one line."""
    fields = {field.encode_name: getattr(record, field.name) for field in msgspec.structs.fields(record)}
    document = {"schema": fields.pop("schema"), **fields}
    indented = msgspec.json.format(_ENCODER.encode(document), indent=2)
    return _NUMBERS.sub(_on_one_line, indented) + b"\n"


class _Header(msgspec.Struct):
    schema: str = ""


def schema_of(text: bytes) -> str:
    """Return the schema that a document names; empty if it names none or is not JSON."""
    try:
        return msgspec.json.decode(text, type=_Header).schema
    except _INVALID:
        return ""


def decode(text: bytes, record: type[_Record], *, schema: str, what: str, command: str, where: str | None) -> _Record:
    """Decode a record from JSON, after a check of its schema.

    Args:
        text: The document.
        record: Type of the record.
        schema: Schema that this version reads, such as `meritorder.plan/1`.
        what: What the document should be, with its article.
        command: Command that writes such documents.
        where: Name of the file for messages.

    Raises:
        ConfigError: The document is not JSON, has another schema, or does not match the record.
    """
    try:
        found = msgspec.json.decode(text, type=_Header).schema
    except _INVALID as error:
        raise ConfigError(f"not {what}: {error}", where=where, fix=f"write one with `{command}`") from error
    family, _, version = schema.rpartition("/")
    if found != schema and not found.startswith(f"{family}/"):
        named = f"its schema is {found!r}" if found else "it names no schema"
        raise ConfigError(f"not {what}: {named}", where=where, fix=f"write one with `{command}`")
    if found != schema:
        other = found.removeprefix(f"{family}/")
        newer = other.isdecimal() and int(other) > int(version)
        fix = "upgrade meritorder" if newer else f"write it again with `{command}`"
        raise ConfigError(f"{what} of schema {found}, but this version reads {schema}", where=where, fix=fix)
    try:
        return msgspec.json.decode(text, type=record)
    except _INVALID as error:
        raise ConfigError(str(error), where=where, fix=f"write it again with `{command}`") from error


def _on_one_line(array: re.Match[bytes]) -> bytes:
    return _BLANK.sub(b"", array.group()).replace(b",", b", ")
