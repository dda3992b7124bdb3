"""The trace formats, and the choice of the one that a file is in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from meritorder.errors import TraceError
from meritorder.traces.formats import benchmarks, columns, litellm, openai_batch, public_traces
from meritorder.traces.intake import RawTable
from meritorder.traces.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFormat:
    """One format.

    Args:
        name: Value of `--format`.
        title: Description for a person.
        recognizes: Whether a file is in this format, by its kind and columns.
        read: Reads one file.
    """

    name: str
    title: str
    recognizes: Callable[[Source], bool]
    read: Callable[[Source], RawTable]


BY_COLUMNS: Final = "columns"

FORMATS: Final = (
    TraceFormat(
        name="azure",
        title="Azure LLM inference 2023/2024 CSV",
        recognizes=public_traces.is_azure,
        read=public_traces.read_azure,
    ),
    TraceFormat(
        name="mooncake",
        title="Mooncake JSON lines",
        recognizes=public_traces.is_mooncake,
        read=public_traces.read_mooncake,
    ),
    TraceFormat(
        name="burstgpt",
        title="BurstGPT CSV",
        recognizes=public_traces.is_burstgpt,
        read=public_traces.read_burstgpt,
    ),
    TraceFormat(
        name="openai_batch",
        title="OpenAI Batch input JSON lines",
        recognizes=openai_batch.recognizes,
        read=openai_batch.read,
    ),
    TraceFormat(name="litellm", title="LiteLLM spend logs", recognizes=litellm.recognizes, read=litellm.read),
    TraceFormat(
        name="bench",
        title="vLLM, AIPerf or ServeGen JSON lines",
        recognizes=benchmarks.recognizes,
        read=benchmarks.read,
    ),
    TraceFormat(
        name=BY_COLUMNS,
        title="any CSV, Parquet or JSON lines by column names",
        recognizes=columns.recognizes,
        read=columns.read,
    ),
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
    if mapping:
        if name not in {None, BY_COLUMNS}:
            raise TraceError(f"--columns goes with --format {BY_COLUMNS}, not {name}", fix="drop one of the two")
        return BY_COLUMNS, columns.read(source, mapping)
    if name is not None:
        chosen = next((candidate for candidate in FORMATS if candidate.name == name), None)
        if chosen is None:
            known = ", ".join(candidate.name for candidate in FORMATS)
            raise TraceError(f"no format {name}", where="--format", fix=f"the formats are {known}")
        return chosen.name, chosen.read(source)
    detected = next((candidate for candidate in FORMATS if candidate.recognizes(source)), None)
    if detected is None:
        titles = "; ".join(f"{candidate.name} ({candidate.title})" for candidate in FORMATS)
        raise TraceError(
            f"the columns {', '.join(source.columns[:12]) or '(none)'} match no known format: {titles}",
            where=source.name,
            fix="name the columns with --columns arrival=…,input=…,output=…",
        )
    return detected.name, detected.read(source)
