"""Any table by column names: well-known ones, or a mapping given by the user."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from meritorder.errors import TraceError
from meritorder.traces.formats.declared import UNITS_S, AsideRule, at_once, unit_by_name, with_kinds
from meritorder.traces.formats.shape import Shape
from meritorder.traces.intake import AT_ONCE, RawTable
from meritorder.traces.trace import Kind

FIELDS: Final = (
    *("arrival", "input", "output", "cached", "model", "tenant", "session", "workload", "deadline"),
    *("total", "id", "parent", "status", "error", "calls", "started", "first", "ended", "ttft", "tpot", "e2e"),
    *("config", "hardware", "gpus", "replicas"),
)
_REQUIRED: Final = FIELDS[:3]
_BETWEEN_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s-]+")
_ZONE: Final = re.compile(r"\s*[(\[](?:utc|gmt)[)\]]$", re.IGNORECASE)
_UNIT: Final = re.compile(r"\s*[(\[](s|ms|us|ns)[)\]]$")
_DAYS: Final = ("date", "day")
_CLOCK: Final = re.compile(r"\s*\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AaPp][Mm])?\s*")
_TIMES: Final = ("arrival", "first", "ended", "ttft", "tpot", "e2e")

_RULES: Final = tuple(
    AsideRule(kind=kind, column=column, pattern=pattern)
    for column in ("endpoint", "path", "url", "route", "request_path", "operation", "call_type", "request_type")
    for kind, pattern in (
        (Kind.BATCH_CALL, r"/(files|batches)\b"),
        (Kind.NO_GENERATION, "embedding|moderation|rerank|transcription|images/|image_gen|audio/speech"),
    )
) + tuple(
    AsideRule(kind=Kind.ERROR, column=column, pattern=r"^(false|no)$")
    for column in ("success", "is_success", "succeeded", "successful")
)
"""What a call is for and whether it failed, where a column of this name says so."""

_SHOWN_PARTS: Final = 4
_TOKEN_WORDS: Final = frozenset({"token", "tokens"})
# Words of columns of tokens that are no count of a part: limits, prices, rates, sums.
_NO_PART: Final = frozenset(
    {"max", "min", "limit", "budget", "remaining", "per", "cost", "price", "usd", "rate", "total", "id", "ids", "avg"}
    | {"mean", "tps", "s", "ms", "latency", "time", "type", "speed", "throughput", "text", "sum"}
)

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "arrival": (
        "arrival",
        "arrived",
        "arrival_time",
        "arrived_at",
        "timestamp",
        "time",
        "ts",
        "start_time",
        "starttime",
        "start",
        "request_time",
        "created_at",
        "created",
        "datetime",
        "date",
        *(
            "asctime",
            "time_generated",
            "timegenerated",
            "event_time",
            "logging_time",
            "logged_at",
            "log_time",
            "started_at",
        ),
        *("request_timestamp", "request_start_time", "requested_at", "received_at", "submitted_at", "sent_at"),
        *("minute", "hour", "day", "bucket_start", "window_start", "interval_start", "period_start", "starting_at"),
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
        "input_token_count",
        "tokens_in",
        "input_toks",
        "gen_ai.usage.input_tokens",
        "usage.prompt_tokens",
        "usage.input_tokens",
        "response.usage.prompt_tokens",
        "response.usage.input_tokens",
        *("usage_metadata.input_tokens", "usage.tokens.input_tokens", "meta.tokens.input_tokens"),
        *("usage.billed_units.input_tokens", "meta.billed_units.input_tokens"),
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
        "num_generated_tokens",
        "output_token_count",
        "tokens_out",
        "output_toks",
        "gen_ai.usage.output_tokens",
        "usage.completion_tokens",
        "usage.output_tokens",
        "response.usage.completion_tokens",
        "response.usage.output_tokens",
        *("usage_metadata.output_tokens", "usage.tokens.output_tokens", "meta.tokens.output_tokens"),
        *("usage.billed_units.output_tokens", "meta.billed_units.output_tokens"),
    ),
    "cached": (
        "cached_tokens",
        "cached_prefix_tokens",
        "prefix_tokens",
        "cached_input_tokens",
        "cache_read_input_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "prompt_tokens_details.cached_tokens",
        "input_tokens_details.cached_tokens",
        "usage.prompt_tokens_details.cached_tokens",
        "usage.input_tokens_details.cached_tokens",
        "response.usage.prompt_tokens_details.cached_tokens",
        "response.usage.input_tokens_details.cached_tokens",
        "usage_metadata.input_token_details.cache_read",
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
    "config": ("config", "setup", "run"),
    "hardware": ("hardware", "gpu", "accelerator"),
    "gpus": ("tp", "gpus", "tensor_parallel_size"),
    "replicas": ("dp", "replicas", "data_parallel_size"),
    "ttft": ("ttft", "time_to_first_token"),
    "tpot": ("tpot", "time_per_output_token", "mean_itl", "itl"),
    "e2e": ("e2e", "e2e_latency", "e2el", "latency", "duration", "request_latency", "response_time"),
    "first": ("first_token_at", "first_token_time", "first_token"),
    "calls": (
        *("num_model_requests", "num_requests", "request_count", "requests", "n_requests", "total_requests"),
        *("calls", "num_calls", "api_calls", "call_count", "invocations", "api_requests"),
    ),
    "total": ("total_tokens", "total_token_count", "usage.total_tokens", "tokens_total"),
    "ended": ("end_time", "endtime", "ended", "ended_at", "finished_at", "completed_at"),
}
"""Well-known names, in lower case; the first one present is taken.

Names with dots are from the OpenTelemetry semantic conventions for generative AI,
https://opentelemetry.io/docs/specs/semconv, 2026.
"""


def recognizes(shape: Shape) -> bool:
    """Whether the three columns that every trace needs have well-known names."""
    return set(_REQUIRED) <= set(_known_columns(shape))


def check(shape: Shape, mapping: Mapping[str, str]) -> None:
    """Raise TraceError if a field of a mapping is unknown, or a column of it is missing."""
    unknown = sorted(set(mapping) - set(FIELDS))
    if unknown:
        raise TraceError(f"no field {', '.join(unknown)}", where="--columns", fix=f"the fields are {', '.join(FIELDS)}")
    shape.source.require(*mapping.values())


def read(shape: Shape, mapping: Mapping[str, str] | None = None) -> RawTable:
    """Read one file.

    Args:
        shape: The file.
        mapping: Field to column; fields that are not mapped are found by their well-known names.

    Raises:
        TraceError: A field is unknown, a column is missing, or a required field has no column.
    """
    mapped = dict(mapping or {})
    check(shape, mapped)
    source = shape.source
    fields = _known_columns(shape)
    fields |= _day_and_clock(shape, fields) | mapped
    timeless = "arrival" not in fields and {"input", "output"} <= set(mapped)
    missing = [field for field in _REQUIRED if field not in fields and not (timeless and field == "arrival")]
    if missing:
        raise TraceError(
            f"no known column for {' or '.join(missing)} among {', '.join(source.columns)}",
            where=source.name,
            fix="name it: --columns " + ",".join(f"{field}=NAME" for field in missing),
        )
    units_s = {name: unit for name in ("ttft", "tpot", "e2e") if (unit := unit_by_name(_plain(fields.get(name, ""))))}
    table = with_kinds(shape, fields, _RULES)
    return RawTable(
        table=at_once(table) if timeless else table,
        unit_s=1.0 if timeless else unit_by_name(_plain(fields["arrival"])),
        units_s=units_s,
        columns=fields,
        assumptions=(*_unread(shape, fields), *([AT_ONCE] if timeless else [])),
    )


def _unread(shape: Shape, fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence on columns that count tokens and are not read: they may be parts, or come in addition.

    Parts of a count that is read have the same words at their end (`prompt_tokens_details.audio_tokens`).
    """
    read_whole = " ".join(fields.values())
    parts = [
        name
        for name in shape.source.columns
        if name not in read_whole and _counts_tokens(name) and any(_is_count(row.get(name)) for row in shape.records)
    ]
    if not parts:
        return ()
    listed = ", ".join(parts[:_SHOWN_PARTS])
    more = f"--columns input={fields['input']}+…,output={fields['output']}+…"
    return (
        f"not read, as parts of the other counts: {listed}; if their tokens come in addition, add them with {more}",
    )


def _counts_tokens(name: str) -> bool:
    words = set(re.split(r"[^a-z0-9]+", _plain(name)))
    return bool(words & _TOKEN_WORDS) and not words & _NO_PART


def _is_count(value: object) -> bool:
    try:
        return float(str(value).replace(",", "")) > 0
    except ValueError:
        return False


def _known_columns(shape: Shape) -> dict[str, str]:
    present = {_plain(name): name for name in sorted(shape.paths - set(shape.source.columns))}
    present |= {_plain(name): name for name in reversed(shape.source.columns)}
    present |= {name.strip().lower(): name for name in reversed(shape.source.columns)}
    known = {
        field: next((present[name] for name in _variants(field, names) if name in present), None)
        for field, names in _NAMES.items()
    }
    return {field: name for field, name in known.items() if name is not None}


def _day_and_clock(shape: Shape, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the columns of day and clock of an arrival that is a clock without a day."""
    clock = fields.get("arrival", "")
    day = next((name for name in shape.source.columns if _plain(name) in _DAYS and name != clock), None)
    values = [str(record[clock]) for record in shape.records if record.get(clock)]
    return {"arrival": f"{day}+{clock}"} if day and values and all(map(_CLOCK.fullmatch, values)) else {}


def _plain(name: str) -> str:
    """Return a name in lower case with underscores, without a zone: `Prompt Tokens (UTC)` is `prompt_tokens`.

    A unit in parentheses is a suffix: `Latency (ms)` is `latency_ms`.
    """
    words = _UNIT.sub(r" \1", _ZONE.sub("", name.strip()))
    return _BETWEEN_WORDS.sub("_", words.strip()).lower()


def _variants(field: str, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of a field; a time may have its unit as a suffix."""
    for name in names:
        yield name
        if field in _TIMES:
            yield from (f"{name}{unit}" for unit in UNITS_S)
