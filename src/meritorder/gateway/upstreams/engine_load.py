"""Parse the load that an engine reports: vLLM, SGLang and llama.cpp, recognized by the names of their metrics."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meritorder.gateway.config import VenueKind
from meritorder.gateway.upstreams.upstream import EngineLoad
from meritorder.gateway.wire.errors import INVALID_JSON

_MAX_SEQUENCES: Final = 65_536  # more than any engine runs or queues

# name{labels} value
_SAMPLE: Final = re.compile(rb"^([a-zA-Z_:][\w:]*)(?:\{[^}\n]*\})?[ \t]+(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMetrics:
    """Names of an engine's metrics.

    Args:
        running: Sequences that run.
        waiting: Sequences that wait.
        kv_cache_shares: Share of the KV cache in use; later names are those of older versions.
        input_tokens: Counters that sum to the prompt tokens, cached ones included.
        output_tokens: Counter of generated tokens.
        requests: Counter of requests that ended; empty if it has none.
        option: Option of the engine that makes it serve its metrics; empty if it always does.
    """

    running: str
    waiting: str
    kv_cache_shares: tuple[str, ...]
    input_tokens: tuple[str, ...]
    output_tokens: str
    requests: str = ""
    option: str = ""


ENGINE_METRICS: Final = {
    VenueKind.VLLM: EngineMetrics(
        running="vllm:num_requests_running",
        waiting="vllm:num_requests_waiting",
        kv_cache_shares=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        input_tokens=("vllm:prompt_tokens_total",),
        output_tokens="vllm:generation_tokens_total",
        requests="vllm:request_success_total",
    ),
    VenueKind.SGLANG: EngineMetrics(
        running="sglang:num_running_reqs",
        waiting="sglang:num_queue_reqs",
        kv_cache_shares=("sglang:token_usage",),
        input_tokens=("sglang:prompt_tokens_total",),
        output_tokens="sglang:generation_tokens_total",
        requests="sglang:num_requests_total",
        option="--enable-metrics",
    ),
    VenueKind.LLAMA_CPP: EngineMetrics(
        running="llamacpp:requests_processing",
        waiting="llamacpp:requests_deferred",
        kv_cache_shares=("llamacpp:kv_cache_usage_ratio",),
        input_tokens=("llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total"),
        output_tokens="llamacpp:tokens_predicted_total",
        option="--metrics",
    ),
}
"""What each engine reports.

Source: vLLM's production metrics (docs.vllm.ai, 0.5 to 0.32: its counters have kept their names from V0 to V1, which
adds the label `engine`), SGLang's (docs.sglang.io, 0.5), llama.cpp's server README (b10549); all 2026-11.
"""

_RUNNING: Final = tuple(names.running.encode() for names in ENGINE_METRICS.values())
_WAITING: Final = tuple(names.waiting.encode() for names in ENGINE_METRICS.values())
_KV_SHARE: Final = tuple(name.encode() for names in ENGINE_METRICS.values() for name in names.kv_cache_shares)


def parse_metrics(text: bytes, *, max_sequences: int | None = None) -> EngineLoad | None:
    """Return an engine's load from its metrics; None if they do not include it.

    Counts are summed over an engine's data-parallel ranks; of their memory shares the largest is used.

    Args:
        text: In Prometheus' text format.
        max_sequences: Most sequences at one time, known from another source.
    """
    samples: dict[bytes, list[float]] = {}
    load_metrics = {*_RUNNING, *_WAITING, *_KV_SHARE}
    for name, value in _SAMPLE.findall(text):
        if name in load_metrics and (number := _plausible(value)) is not None:
            samples.setdefault(name, []).append(number)
    running = _first(samples, _RUNNING)
    waiting = _first(samples, _WAITING)
    if not running or not waiting:
        return None
    shares = _first(samples, _KV_SHARE)
    return EngineLoad(
        running=round(sum(running)),
        waiting=round(sum(waiting)),
        kv_cache_share=max(shares) if shares else None,
        max_sequences=max_sequences,
    )


def _first(samples: dict[bytes, list[float]], names: tuple[bytes, ...]) -> list[float]:
    return next((samples[name] for name in names if name in samples), [])


def _plausible(text: bytes) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= _MAX_SEQUENCES else None


class _Slot(msgspec.Struct):
    is_processing: bool


def parse_slots(text: bytes) -> EngineLoad | None:
    """Return the load from llama.cpp's `/slots`; None if the text is something else.

    It does not include the queue, and reading it wakes a sleeping server. It is for servers started without
    `--metrics`.
    """
    try:
        slots = msgspec.json.decode(text, type=list[_Slot])
    except INVALID_JSON:
        return None
    return (
        EngineLoad(running=sum(slot.is_processing for slot in slots), waiting=0, max_sequences=len(slots))
        if slots
        else None
    )


class _Props(msgspec.Struct):
    total_slots: Annotated[int, Meta(gt=0, le=_MAX_SEQUENCES)]


def parse_max_sequences(text: bytes) -> int | None:
    """Return how many sequences llama.cpp runs at one time from its `/props`; None if the text is something else."""
    try:
        return msgspec.json.decode(text, type=_Props).total_slots
    except INVALID_JSON:
        return None
