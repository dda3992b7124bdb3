"""The answer as JSON: versioned, in a stable order, and pleasant to read."""

import re
from typing import Any, Final

import msgspec

from meritorder.comparison import SCHEMA, Comparison
from meritorder.errors import ConfigError

# A string holds no raw line break in JSON, so only an array of numbers can look like this.
_NUMBERS: Final = re.compile(rb"\[\n[-+.0-9eE,\s]+\]")
_BLANK: Final = re.compile(rb"\s+")


def encode(comparison: Comparison) -> bytes:
    """Write the answer as indented JSON, `schema` first, every array of numbers on one line."""
    return indented(msgspec.structs.asdict(comparison))


def indented(fields: dict[str, Any]) -> bytes:
    """Write the fields of an answer as indented JSON, `schema` first, every array of numbers on one line."""
    document = {"schema": fields["schema"], **fields}
    return _NUMBERS.sub(_on_one_line, msgspec.json.format(msgspec.json.encode(document), indent=2)) + b"\n"


def decode(document: bytes, *, where: str | None = None) -> Comparison:
    """Read an answer back.

    Args:
        document: What `encode` wrote.
        where: Name of the file, for the message.

    Raises:
        ConfigError: It is not JSON, or not of this schema.
    """
    try:
        comparison = msgspec.json.decode(document, type=Comparison)
    except msgspec.DecodeError as error:
        raise ConfigError(f"not an answer of `compare`: {error}", where=where) from None
    if comparison.schema != SCHEMA:
        raise ConfigError(f"schema {comparison.schema} is not {SCHEMA}", where=where, fix="run compare again")
    return comparison


def _on_one_line(array: re.Match[bytes]) -> bytes:
    return _BLANK.sub(b"", array.group()).replace(b",", b", ")
