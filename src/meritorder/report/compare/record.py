"""The answer of `compare` as JSON."""

from meritorder import documents
from meritorder.comparison import SCHEMA, Comparison


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
    return documents.decode(
        document,
        Comparison,
        schema=SCHEMA,
        what="an answer of `compare`",
        command="meritorder compare",
        where=where,
    )
