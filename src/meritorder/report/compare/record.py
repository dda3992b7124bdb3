"""The answer as JSON: versioned, in a stable order, and pleasant to read."""

import msgspec

from meritorder import documents
from meritorder.comparison import SCHEMA, Comparison
from meritorder.errors import ConfigError


def encode(comparison: Comparison) -> bytes:
    """Write the answer as indented JSON, `schema` first, every array of numbers on one line."""
    return documents.encode(comparison)


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
