"""BurstGPT, CSV, versions 1 to 3, by column name.

Columns `Timestamp` (seconds since the trace began), `Model, Request tokens, Response tokens, Total tokens,
Log Type`, and in later versions `Session ID` and `Elapsed time`. A failed request has zero response tokens.

Source: https://github.com/HPMLL/BurstGPT, README, read 2026-11.
"""

from typing import Final

from meritorder.traces.files import File
from meritorder.traces.intake import Raw

NEEDS: Final = ("Timestamp", "Model", "Request tokens", "Response tokens")


def recognises(file: File) -> bool:
    """Tell whether the file is of this format."""
    return set(NEEDS) <= set(file.columns)


def read(file: File) -> Raw:
    """Read one file."""
    file.require(*NEEDS)
    fields = {
        "arrival": "Timestamp",
        "model": "Model",
        "input": "Request tokens",
        "output": "Response tokens",
    }
    if "Session ID" in file.columns:
        fields["session"] = "Session ID"
    return Raw(table=file.table(fields), unit_s=1.0)
