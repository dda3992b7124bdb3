"""Any table by column names: well-known ones, or a mapping given by the user."""

from collections.abc import Mapping
from typing import Final

from meritorder.errors import TraceError
from meritorder.traces.intake import RawTable
from meritorder.traces.sources import Source
from meritorder.units import MS_PER_S

FIELDS: Final = (
    *("arrival", "input", "output", "cached", "model", "tenant", "session", "workload", "deadline"),
    *("id", "parent", "status", "error", "calls", "ended", "first", "ttft", "tpot", "e2e"),
    *("config", "hardware", "gpus", "replicas"),
)
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
    "id": ("request_id", "requestid", "req_id", "call_id", "span_id", "generation_id", "response_id", "id"),
    "parent": ("parent_id", "parent_run_id", "parent_span_id", "parent_observation_id", "parentobservationid"),
    "status": ("status_code", "http_status", "response_status", "status"),
    "error": ("error", "error_message", "error_type", "exception"),
    "calls": ("num_model_requests", "num_requests", "request_count", "requests", "n_requests", "calls"),
    "ended": ("ended_s", "end_time", "endtime", "ended", "ended_at", "finished_at", "completed_at"),
}
"""Well-known names, in lower case; the first one present is taken.

Names with dots are from the OpenTelemetry semantic conventions for generative AI,
https://opentelemetry.io/docs/specs/semconv, 2026.
"""

_UNITS_S: Final = {"_ms": 1 / MS_PER_S, "_us": 1 / MS_PER_S**2, "_ns": 1 / MS_PER_S**3, "_s": 1.0}


def recognizes(source: Source) -> bool:
    """Whether the three columns that every trace needs have well-known names."""
    return set(_REQUIRED) <= set(_known_columns(source))


def read(source: Source, mapping: Mapping[str, str] | None = None) -> RawTable:
    """Read one file.

    Args:
        source: The file.
        mapping: Field to column; fields that are not mapped are found by their well-known names.

    Raises:
        TraceError: A field is unknown, a column is missing, or a required field has no column.
    """
    mapped = dict(mapping or {})
    unknown = sorted(set(mapped) - set(FIELDS))
    if unknown:
        raise TraceError(f"no field {', '.join(unknown)}", where="--columns", fix=f"the fields are {', '.join(FIELDS)}")
    source.require(*mapped.values())
    fields = _known_columns(source) | mapped
    missing = [field for field in _REQUIRED if field not in fields]
    if missing:
        raise TraceError(
            f"no known column for {' or '.join(missing)} among {', '.join(source.columns)}",
            where=source.name,
            fix="name it: --columns " + ",".join(f"{field}=NAME" for field in missing),
        )
    return RawTable(table=source.table(fields), unit_s=_unit_s(fields["arrival"]))


def _known_columns(source: Source) -> dict[str, str]:
    present = {name.strip().lower(): name for name in reversed(source.columns)}
    known = {field: next((present[name] for name in names if name in present), None) for field, names in _NAMES.items()}
    return {field: name for field, name in known.items() if name is not None}


def _unit_s(column: str) -> float | None:
    """Return the unit that the suffix of a column's name states."""
    return next((unit for suffix, unit in _UNITS_S.items() if column.lower().endswith(suffix)), None)
