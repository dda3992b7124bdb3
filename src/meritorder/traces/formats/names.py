"""What people call the columns of a trace: well-known names, and the words that names are made of."""

import re
from collections.abc import Iterator, Mapping
from typing import Final
from unicodedata import normalize

from meritorder.units import MS_PER_S

UNITS_S: Final = {"_ms": 1 / MS_PER_S, "_us": MS_PER_S**-2, "_ns": MS_PER_S**-3, "_s": 1.0}
"""Units that the suffix of a name states, in seconds."""

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "arrival": (
        *("arrival", "arrived", "arrival_time", "arrived_at", "timestamp", "time", "ts", "start_time", "starttime"),
        # Splunk, Elastic, and the variables of nginx, whose request_time is a duration.
        *("_time", "@timestamp", "time_local", "time_iso8601", "msec"),
        *("start", "request_time", "created_at", "created", "datetime", "date", "asctime"),
        *("time_generated", "timegenerated", "event_time", "logging_time", "logged_at", "log_time", "started_at"),
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
        *("input_token_count", "prompt_token_count", "tokens_in", "tokens_input", "input_toks", "message_tokens"),
        *("eingabetoken", "eingabetokens"),
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
        *("output_token_count", "completion_token_count", "tokens_out", "tokens_output", "output_toks"),
        *("answer_tokens", "ausgabetoken", "ausgabetokens"),
        "gen_ai.usage.output_tokens",
        "usage.completion_tokens",
        "usage.output_tokens",
        "response.usage.completion_tokens",
        "response.usage.output_tokens",
        *("usage_metadata.output_tokens", "usage.tokens.output_tokens", "meta.tokens.output_tokens"),
        *("usage.billed_units.output_tokens", "meta.billed_units.output_tokens"),
    ),
    "cached": (
        *("cached_tokens", "cached_prefix_tokens", "prefix_tokens", "cached_input_tokens", "cache_read_input_tokens"),
        *("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens", "prompt_cache_hit_tokens"),
        *("input_token_details.cache_read", "cached_content_token_count", "gen_ai.usage.cache_read.input_tokens"),
        "token_details.prompt_tokens_details.cached_tokens",
    ),
    "reasoning": (
        *("completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens"),
        *("reasoning_tokens", "thoughts_tokens", "thinking_tokens"),
    ),
    "model": ("model", "model_name", "model_id", "gen_ai.request.model", "modell", "modele", "modelo", "modello"),
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


# Pairs of names of input and output that are also known with a prefix, such as `llm_prompt_tokens`.
PAIRS: Final = (
    ("input_tokens", "output_tokens"),
    ("prompt_tokens", "completion_tokens"),
    ("input_token_count", "output_token_count"),
    ("prompt_token_count", "completion_token_count"),
    ("tokens_input", "tokens_output"),
    ("tokens_in", "tokens_out"),
    ("tokens_prompt", "tokens_completion"),
)

SIDES: Final[Mapping[str, frozenset[str]]] = {
    "input": frozenset(
        {"input", "inputs", "in", "prompt", "prompts", "context", "request", "query", "prefill", "ctx"}
        | {"eingabe", "eingang", "anfrage", "entree", "requete", "entrada", "ingresso", "wejsciowe", "wejscie"}
        | {"入力", "输入"}
    ),
    "output": frozenset(
        {"output", "outputs", "out", "completion", "completions", "generated", "generation", "gen", "response"}
        | {
            "answer",
            "reply",
            "decode",
            "ausgabe",
            "antwort",
            "sortie",
            "reponse",
            "salida",
            "saida",
            "uscita",
            "wyjsciowe",
            "wyjscie",
        }
        | {"出力", "输出"}
    ),
}
DAY_FIRST_WORDS: Final = frozenset(
    {
        "zeit",
        "zeitpunkt",
        "zeitstempel",
        "datum",
        "uhrzeit",
        "heure",
        "horodatage",
        "fecha",
        "hora",
        "data",
        "ora",
        "czas",
        "godzina",
    }
)
"""Words for times in languages that write the day before the month."""
TIME_WORDS: Final = DAY_FIRST_WORDS | frozenset(
    {"time", "ts", "date", "at", "start", "started", "created", "when", "arrival", "arrived", "timestamp", "datetime"}
    | {"日時", "时间", "時刻"}
)
TOKEN_WORDS: Final = frozenset({"tokens", "token", "tok", "toks", "jetons", "jeton", "tokeny", "トークン", "令牌"})
# Words that add nothing: "tokens de entrada", "Fecha y hora", "number of input tokens".
_FILLERS: Final = frozenset({"de", "des", "d", "du", "y", "et", "und", "e", "di", "i", "of", "number", "num", "count"})
# Words of languages that put no spaces between them.
_SIGNS: Final = ("入力", "出力", "输入", "输出", "トークン", "令牌", "日時", "时间", "時刻")
_BETWEEN_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s-]+")
_WORD: Final = re.compile(r"[a-z]+|[A-Z][a-z]*|[A-Z]+(?![a-z])")
_ACCENTS: Final = re.compile(r"[\u0300-\u036f]")
_ZONE: Final = re.compile(r"\s*[(\[](?:utc|gmt)[)\]]$", re.IGNORECASE)
_UNIT: Final = re.compile(r"\s*[(\[](s|ms|us|ns)[)\]]$")
_TIMES: Final = ("arrival", "first", "ended", "ttft", "tpot", "e2e")


def plain(name: str) -> str:
    """Return a name in lower case with underscores, without a zone: `Prompt Tokens (UTC)` is `prompt_tokens`.

    A unit in parentheses is a suffix: `Latency (ms)` is `latency_ms`.
    """
    text = _UNIT.sub(r" \1", _ZONE.sub("", _unaccented(name).strip()))
    return _BETWEEN_WORDS.sub("_", text.strip()).lower()


def variants(field: str) -> Iterator[str]:
    """Yield the well-known names of a field; a time may have its unit as a suffix."""
    for name in NAMES[field]:
        yield name
        if field in _TIMES:
            yield from (f"{name}{unit}" for unit in UNITS_S)


def unit_by_name(column: str) -> float | None:
    """Return the unit that the suffix of a column's name states."""
    return next((unit for suffix, unit in UNITS_S.items() if column.lower().endswith(suffix)), None)


def words_in(name: str) -> set[str]:
    """Return the words of a name, in lower case and without accents."""
    signs = {sign for sign in _SIGNS if sign in normalize("NFKC", name)}
    return {word.lower() for word in _WORD.findall(_unaccented(name))} | signs


def says_tokens_of(name: str, field: str) -> bool:
    """Whether a name says that its column counts the tokens of one side, and says nothing else."""
    words = words_in(name) - _FILLERS
    # "Token in uscita" are those of the output.
    words -= {"in"} if words & (SIDES["output"] | SIDES["input"] - {"in"}) else set()
    return bool(words & TOKEN_WORDS) and bool(words & SIDES[field]) and words <= TOKEN_WORDS | SIDES[field]


def says_time(name: str) -> bool:
    """Whether a name says that its column holds times, and says nothing else."""
    words = words_in(name) - _FILLERS
    return bool(words) and words <= TIME_WORDS


def _unaccented(name: str) -> str:
    return _ACCENTS.sub("", normalize("NFKD", name))
