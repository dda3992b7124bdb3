"""Versioned records as readable JSON with a stable order of fields."""

import re
from typing import Final

import msgspec

# JSON strings contain no raw line break, so that only an array of numbers matches.
_NUMBERS: Final = re.compile(rb"\[\n[-+.0-9eE,\s]+\]")
_BLANK: Final = re.compile(rb"\s+")
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def encode(record: msgspec.Struct) -> bytes:
    """Encode a record with a `schema` field as indented JSON: `schema` first, each array of numbers on one line."""
    fields = {field.encode_name: getattr(record, field.name) for field in msgspec.structs.fields(record)}
    document = {"schema": fields.pop("schema"), **fields}
    indented = msgspec.json.format(_ENCODER.encode(document), indent=2)
    return _NUMBERS.sub(_on_one_line, indented) + b"\n"


def _on_one_line(array: re.Match[bytes]) -> bytes:
    return _BLANK.sub(b"", array.group()).replace(b",", b", ")
