"""The answer as JSON, and its findings as CSV."""

import csv
import io
from typing import Final

from meritorder import documents
from meritorder.records.findings import SCHEMA, Audit, Finding

_COLUMNS: Final = tuple(Finding.__struct_fields__)


def encode(audit: Audit) -> bytes:
    """Return the answer as indented JSON, `schema` first, every array of numbers on one line."""
    return documents.encode(audit)


def decode(document: bytes, *, where: str | None = None) -> Audit:
    """Return an answer from its JSON.

    Args:
        document: What `encode` wrote.
        where: Name of the file for the message.

    Raises:
        ConfigError: It is not JSON, or not of this schema.
    """
    return documents.decode(
        document,
        Audit,
        schema=SCHEMA,
        what="an answer of `audit`",
        command="meritorder audit",
        where=where,
    )


def to_csv(audit: Audit) -> str:
    """Return the findings as CSV, one a row, largest first; dollars in whole cents."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([_cell(name, getattr(finding, name)) for name in _COLUMNS] for finding in audit.findings)
    return text.getvalue()


def _cell(name: str, value: object) -> object:
    """Return dollars in whole cents, and prefix a text that a spreadsheet would take for a formula."""
    if name.startswith("usd"):
        return f"{value:.2f}"
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@"} else value
