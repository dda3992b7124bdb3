"""Any CSV, Parquet or JSON lines, by well-known column names or by the user's own mapping."""

from collections.abc import Mapping
from typing import Final

from meritorder.errors import TraceError
from meritorder.traces.files import File
from meritorder.traces.intake import Raw
from meritorder.units import MS_PER_S

FIELDS: Final = ("arrival", "input", "output", "cached", "model", "tenant", "session", "workload", "deadline")
_REQUIRED: Final = FIELDS[:3]

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "arrival": (
        "arrived_s",
        "arrival_s",
        "arrival",
        "arrived",
        "arrival_time",
        "arrived_at",
        "arrival_ms",
        "timestamp",
        "timestamp_ms",
        "time",
        "ts",
        "start_time",
        "starttime",
        "request_time",
        "created_at",
        "created",
        "datetime",
        "date",
    ),
    "input": (
        "input_tokens",
        "prompt_tokens",
        "input_length",
        "input_len",
        "prompt_len",
        "prompt_length",
        "isl",
        "input",
        "contexttokens",
        "context_tokens",
        "request_tokens",
        "num_input_tokens",
        "num_prefill_tokens",
        "tokens_in",
        "gen_ai.usage.input_tokens",
    ),
    "output": (
        "output_tokens",
        "completion_tokens",
        "generated_tokens",
        "generatedtokens",
        "output_length",
        "output_len",
        "osl",
        "output",
        "response_tokens",
        "num_output_tokens",
        "num_decode_tokens",
        "tokens_out",
        "gen_ai.usage.output_tokens",
    ),
    "cached": (
        "cached_tokens",
        "cached_prefix_tokens",
        "cached_input_tokens",
        "cache_read_input_tokens",
        "gen_ai.usage.cache_read.input_tokens",
    ),
    "model": ("model", "model_name", "model_id", "gen_ai.request.model"),
    "tenant": (
        "tenant",
        "tenant_id",
        "team",
        "team_id",
        "customer",
        "client",
        "client_id",
        "user",
        "user_id",
    ),
    "session": (
        "session",
        "session_id",
        "conversation",
        "conversation_id",
        "chat_id",
        "gen_ai.conversation.id",
    ),
    "workload": ("workload",),
    "deadline": ("deadline_s", "deadline"),
}
"""Well-known names, compared without case; the first that is there is taken. Those with dots are of the
OpenTelemetry semantic conventions for generative AI, https://opentelemetry.io/docs/specs/semconv, 2026."""

_UNITS_S: Final = {"_ms": 1 / MS_PER_S, "_us": 1 / MS_PER_S**2, "_ns": 1 / MS_PER_S**3, "_s": 1.0}


def recognises(file: File) -> bool:
    """Tell whether the three columns that every trace needs have well-known names."""
    return set(_REQUIRED) <= set(_found(file))


def read(file: File, columns: Mapping[str, str] | None = None) -> Raw:
    """Read one file.

    Args:
        file: The file.
        columns: Field to the user's column; fields that are not named are found by well-known names.

    Raises:
        TraceError: A field is unknown, a column is missing, or a required field is found nowhere.
    """
    named = dict(columns or {})
    unknown = sorted(set(named) - set(FIELDS))
    if unknown:
        raise TraceError(f"no field {', '.join(unknown)}", where="--columns", fix=f"the fields are {', '.join(FIELDS)}")
    file.require(*(name for name in named.values() if "." not in name))
    fields = _found(file) | named
    missing = [field for field in _REQUIRED if field not in fields]
    if missing:
        raise TraceError(
            f"no column is known to hold {' or '.join(missing)} among {', '.join(file.columns)}",
            where=file.name,
            fix="name it: --columns " + ",".join(f"{field}=NAME" for field in missing),
        )
    return Raw(table=file.table(fields), unit_s=_unit_s(fields["arrival"]))


def _found(file: File) -> dict[str, str]:
    there = {name.strip().lower(): name for name in reversed(file.columns)}
    found = {field: next((there[name] for name in names if name in there), None) for field, names in _NAMES.items()}
    return {field: name for field, name in found.items() if name is not None}


def _unit_s(column: str) -> float | None:
    """Tell the unit from the suffix of a column's name."""
    return next((unit for suffix, unit in _UNITS_S.items() if column.lower().endswith(suffix)), None)
