"""Input files of the OpenAI Batch API, JSON lines; token counts are estimated from the text.

A line is `{custom_id, method, url, body: {model, messages | input | prompt, max_tokens | …}}`. There are no
arrivals (a batch is submitted at once) and no token counts:

    input_tokens  = 3 + Σ over messages (4 + bytes of text / 4)
    output_tokens = max_completion_tokens, max_output_tokens or max_tokens, else 256

Source: 4 characters a token: the default of LangChain's count_tokens_approximately,
https://reference.langchain.com; 3 tokens a message, 1 for its role and 3 for the reply: OpenAI's cookbook,
"How to count tokens with tiktoken"; read 2026-11. 256 tokens of output where no limit is set is our
assumption.
"""

from typing import Any, Final

import polars as pl

from meritorder.traces.intake import RawTable
from meritorder.traces.sources import Record, Source
from meritorder.traces.trace import Kind

_REQUIRED: Final = ("custom_id", "url", "body")
_BYTES_PER_TOKEN: Final = 4
_TOKENS_PER_MESSAGE: Final = 4
_TOKENS_PER_REPLY: Final = 3
_ASSUMED_OUTPUT_TOKENS: Final = 256
_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def recognizes(source: Source) -> bool:
    """Whether a file is in this format."""
    return set(_REQUIRED) <= set(source.record) and isinstance(source.record["body"], dict)


def read(source: Source) -> RawTable:
    """Read one file."""
    source.require(*_REQUIRED)
    rows = [(line, *_row(record)) for line, record in source.records()]
    schema = {
        "line": pl.UInt32,
        "broken": pl.Boolean,
        "arrival": pl.Float64,
        "input": pl.Float64,
        "output": pl.Float64,
        "model": pl.String,
        "aside": pl.String,
        "limited": pl.Boolean,
    }
    table = pl.DataFrame(rows, schema=schema, orient="row")
    unlimited = table.height - int(table["limited"].sum())
    assumptions = [
        f"input tokens are estimated at {_BYTES_PER_TOKEN} bytes a token, {_TOKENS_PER_MESSAGE} a message",
        "every request is assumed to generate as many tokens as its limit allows",
        "the file has no arrival times: all requests arrive at once",
    ]
    if unlimited:
        assumptions.append(
            f"{unlimited:,} requests set no limit: {_ASSUMED_OUTPUT_TOKENS} output tokens are assumed for each"
        )
    return RawTable(
        table=table.drop("limited").lazy(), unit_s=1.0, assumptions=tuple(assumptions), estimated_tokens=True
    )


def _row(record: Record | None) -> tuple[bool, float, int | None, int | None, str | None, str | None, bool]:
    """Return broken, arrival, input, output, model, aside, limited."""
    body = record.get("body") if record else None
    if record is None or not isinstance(body, dict):
        return True, 0.0, None, None, None, None, True
    limit = next((body[name] for name in _LIMITS if isinstance(body.get(name), int)), None)
    model = body.get("model")
    aside = Kind.NO_GENERATION if "embeddings" in str(record.get("url")) else None
    output = _ASSUMED_OUTPUT_TOKENS if limit is None else limit
    return (
        False,
        0.0,
        _input_tokens(body),
        output,
        model if isinstance(model, str) else None,
        aside,
        limit is not None,
    )


def _input_tokens(body: Record) -> int | None:
    """Estimate the tokens of the prompt; None without a prompt."""
    prompt = next((body[name] for name in ("messages", "input", "prompt") if body.get(name)), None)
    if prompt is None:
        return None
    texts = prompt if isinstance(prompt, list) else [prompt]
    extra = sum(_text_bytes(body.get(name)) for name in ("instructions", "tools"))
    size = extra + sum(map(_text_bytes, texts))
    return _TOKENS_PER_REPLY + _TOKENS_PER_MESSAGE * len(texts) + -(-size // _BYTES_PER_TOKEN)


def _text_bytes(part: Any) -> int:  # noqa: ANN401  (any JSON)
    """Count the bytes of text in a message, its parts, or the schema of a tool; role and type are overhead."""
    if isinstance(part, str):
        return len(part.encode())
    if isinstance(part, list):
        return sum(map(_text_bytes, part))
    if isinstance(part, dict):
        return sum(_text_bytes(value) for key, value in part.items() if key not in {"role", "type", "image_url"})
    return 0
