"""The trace formats, and the choice of the one that a file is in."""

from collections.abc import Mapping
from typing import Final

from meritorder.errors import TraceError
from meritorder.traces.formats import columns
from meritorder.traces.formats.benchmarks import BENCHMARKS
from meritorder.traces.formats.declared import TraceFormat
from meritorder.traces.formats.gateways import GATEWAYS
from meritorder.traces.formats.guess import proposal
from meritorder.traces.formats.logs import LOGS
from meritorder.traces.formats.public_traces import PUBLIC
from meritorder.traces.formats.shape import shape_of
from meritorder.traces.formats.prompts.texts import BATCH, PROMPTS
from meritorder.traces.formats.usage import USAGE
from meritorder.traces.intake import RawTable
from meritorder.traces.sources import Source

BY_COLUMNS: Final = "columns"

FORMATS: Final = (
    *PUBLIC,
    BATCH,
    *GATEWAYS,
    *LOGS,
    *USAGE,
    *BENCHMARKS,
    TraceFormat(
        name=BY_COLUMNS,
        title="any CSV, Parquet or JSON lines by column names",
        recognizes=columns.recognizes,
        read=columns.read,
    ),
    PROMPTS,
)
"""In the order in which they are tried: specific formats before the general one."""


def read(source: Source, *, name: str | None, mapping: Mapping[str, str] | None) -> tuple[str, RawTable]:
    """Read a file in the named format, or in the first that recognizes it.

    Args:
        source: The file.
        name: Name of the format; None detects it.
        mapping: Field of `columns.FIELDS` to column.

    Returns:
        Name of the format, and the raw table.

    Raises:
        TraceError: The name is unknown, the file is in no known format, or a column is missing.
    """
    shape = shape_of(source)
    if mapping:
        if name not in {None, BY_COLUMNS}:
            raise TraceError(f"--columns goes with --format {BY_COLUMNS}, not {name}", fix="drop one of the two")
        columns.check(shape, mapping)
        declared = next((row for row in FORMATS if row.fields and not row.nest and row.matches(shape)), None)
        if declared is not None and name is None:
            return declared.name, declared.with_fields(mapping).table(shape)
        return BY_COLUMNS, columns.read(shape, mapping)
    if name is not None:
        named = [candidate for candidate in FORMATS if candidate.name == name]
        if not named:
            known = ", ".join(dict.fromkeys(candidate.name for candidate in FORMATS))
            raise TraceError(f"no format {name}", where="--format", fix=f"the formats are {known}")
        return name, next((variant for variant in named if variant.matches(shape)), named[0]).table(shape)
    detected = next((candidate for candidate in FORMATS if candidate.matches(shape)), None)
    if detected is None:
        raise TraceError(
            f"the columns {', '.join(source.columns[:12]) or '(none)'} match no known format",
            where=source.name,
            fix=proposal(shape),
        )
    return detected.name, detected.table(shape)
