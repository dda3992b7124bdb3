"""Azure LLM inference traces of 2023 and 2024, CSV.

Columns `TIMESTAMP, ContextTokens, GeneratedTokens`; 2023 has 7 digits of a second and no zone, 2024 a zone.

Source: https://github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023.md and ...2024.md, 2024-05.
"""

from typing import Final

from meritorder.traces.files import File
from meritorder.traces.intake import Raw

NEEDS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def recognises(file: File) -> bool:
    """Tell whether the file is of this format."""
    return set(NEEDS) <= set(file.columns)


def read(file: File) -> Raw:
    """Read one file."""
    file.require(*NEEDS)
    return Raw(table=file.table({"arrival": "TIMESTAMP", "input": "ContextTokens", "output": "GeneratedTokens"}))
