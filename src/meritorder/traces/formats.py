"""The formats that can be read, and which one a file is of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from meritorder.errors import TraceError
from meritorder.traces import azure, bench, burstgpt, generic, litellm, mooncake, openai_batch
from meritorder.traces.files import File
from meritorder.traces.intake import Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format.

    Args:
        name: What `--format` takes.
        title: What it is, for a person.
        recognises: Tells from kind and columns whether a file is of it.
        read: Reads one file.
    """

    name: str
    title: str
    recognises: Callable[[File], bool]
    read: Callable[[File], Raw]


GENERIC: Final = "columns"

FORMATS: Final = (
    Format(name="azure", title="Azure LLM inference 2023/2024 CSV", recognises=azure.recognises, read=azure.read),
    Format(name="mooncake", title="Mooncake JSON lines", recognises=mooncake.recognises, read=mooncake.read),
    Format(name="burstgpt", title="BurstGPT CSV", recognises=burstgpt.recognises, read=burstgpt.read),
    Format(
        name="openai_batch",
        title="OpenAI Batch input JSON lines",
        recognises=openai_batch.recognises,
        read=openai_batch.read,
    ),
    Format(name="litellm", title="LiteLLM spend logs", recognises=litellm.recognises, read=litellm.read),
    Format(
        name="bench",
        title="vLLM, AIPerf or ServeGen JSON lines",
        recognises=bench.recognises,
        read=bench.read,
    ),
    Format(
        name=GENERIC,
        title="any CSV, Parquet or JSON lines by column names",
        recognises=generic.recognises,
        read=generic.read,
    ),
)
"""In the order in which they are tried: the particular before the general."""


def read(file: File, *, name: str | None, columns: Mapping[str, str] | None) -> tuple[str, Raw]:
    """Read a file in the named format, or in the first that recognises it.

    Returns:
        Name of the format, and what its reader gives.

    Raises:
        TraceError: The name is unknown, the file is of no known format, or lacks columns.
    """
    if columns:
        if name not in {None, GENERIC}:
            raise TraceError(f"--columns goes with --format {GENERIC}, not {name}", fix="leave one of the two out")
        return GENERIC, generic.read(file, columns)
    known = ", ".join(each.name for each in FORMATS)
    if name is not None:
        chosen = next((each for each in FORMATS if each.name == name), None)
        if chosen is None:
            raise TraceError(f"no format {name}", where="--format", fix=f"the formats are {known}")
        return chosen.name, chosen.read(file)
    found = next((each for each in FORMATS if each.recognises(file)), None)
    if found is None:
        titles = "; ".join(f"{each.name} ({each.title})" for each in FORMATS)
        raise TraceError(
            f"the columns {', '.join(file.columns[:12]) or '(none)'} are of no known format: {titles}",
            where=file.name,
            fix="name the columns with --columns arrival=…,input=…,output=…",
        )
    return found.name, found.read(file)
