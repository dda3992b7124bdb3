"""Files of prompts without token counts: input of batch APIs, and records with a prompt or messages.

    input_tokens  = 3 + sum over messages (4 + tokens of its text) + tokens of images
    output_tokens = those of the answer, if the record has one; else its limit (max_tokens and the like); else 256

Source: 3 tokens a message, 1 for its role and 3 for the reply: OpenAI's cookbook, "How to count tokens with tiktoken",
read 2026-11. 256 tokens of output where no limit is set is our assumption.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from meritorder.traces.formats.declared import TraceFormat
from meritorder.traces.formats.names import SIDES, says_tokens_of
from meritorder.traces.formats.prompts.media import ASSUMED_SIZE, DATA_URL, Image, image_of, image_tokens
from meritorder.traces.formats.prompts.tokenizer import Tokenizer, tokenizer_for
from meritorder.traces.formats.shape import Shape
from meritorder.traces.intake import AT_ONCE, RawTable
from meritorder.traces.sources import Record, SourceKind
from meritorder.traces.trace import Kind

_BODIES: Final = ("body", "params", "modelInput", "request")
"""Where a line of a batch holds its request: OpenAI, Anthropic, Bedrock, Gemini."""
_BATCH_IDS: Final = ("custom_id", "recordId", "key")
_PROMPTS: Final = (
    *(
        "messages",
        "contents",
        "prompt",
        "inputText",
        "input",
        "text",
        "question",
        "instruction",
        "conversations",
        "conversation",
    ),
)
_ANSWERS: Final = ("completion", "response", "answer", "output", "generated_text")
_ARRIVALS: Final = ("timestamp", "created_at", "time", "arrival", "arrived_s")
_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens", "maxOutputTokens", "maxTokenCount")
_SETTINGS: Final = ("generationConfig", "generation_config", "textGenerationConfig")
_BESIDE: Final = ("instructions", "tools", "system", "systemInstruction", "system_instruction")
_MODELS: Final = frozenset({"assistant", "gpt", "model"})
_BY_USER: Final = "isCreatedByUser"  # of messages of LibreChat
_TOKENS_PER_MESSAGE: Final = 4
_TOKENS_PER_REPLY: Final = 3
_ASSUMED_OUTPUT_TOKENS: Final = 256
_PART: Final = 1000
_NO_TEXT: Final = frozenset({"role", "type", "from", "id", "name", "cache_control"})
# Where a message has its text; data sets of conversations label messages with more, such as their language.
_SAID: Final = frozenset(
    {"content", "parts", "value", "text", "tool_calls", "function_call", "reasoning_content", "refusal"}
)
_MEDIA: Final = ("input_audio", "audio_url", "file", "input_file", "video_url", "video", "document")


@dataclass(slots=True)
class _Prompt:
    """One record: its text by message, its media, and what is known of its answer."""

    line: int
    broken: bool = False
    arrival: Any = None
    messages: int = 0
    text: str = ""
    answer: str | None = None
    limit: int | None = None
    model: str = ""
    aside: str | None = None
    images: list[Image] = field(default_factory=list)
    other_media: int = 0
    several: bool = False


@dataclass(slots=True)
class _Totals:
    """What was assumed about the prompts of a file."""

    tokenizers: dict[str, Tokenizer] = field(default_factory=dict)
    unlimited: int = 0
    limited: int = 0
    images: int = 0
    unsized: int = 0
    other_media: int = 0
    several: int = 0

    def assumptions(self, *, arrivals: bool) -> tuple[str, ...]:
        """Return the assumptions as sentences."""
        names = " and ".join(dict.fromkeys(tokenizer.name for tokenizer in self.tokenizers.values()))
        width, height = ASSUMED_SIZE
        texts = {
            f"input tokens are estimated: {names}, {_TOKENS_PER_MESSAGE} a message": True,
            f"{self.images:,} images are counted by the rule of their model's provider": self.images,
            f"the size of {self.unsized:,} images is not in the file: {width} x {height} px is assumed": self.unsized,
            f"{self.other_media:,} parts with audio, video or files are not counted": self.other_media,
            "every request is assumed to generate as many tokens as its limit allows": self.limited,
            f"{self.unlimited:,} requests set no limit: {_ASSUMED_OUTPUT_TOKENS} output tokens are assumed for each": (
                self.unlimited
            ),
            f"{self.several:,} conversations hold several answers: each is taken as one request, that of its last": (
                self.several
            ),
            AT_ONCE: not arrivals,
        }
        return tuple(text for text, applies in texts.items() if applies)


def _is_batch(shape: Shape) -> bool:
    return any(
        any(name in record for name in _BATCH_IDS)
        and _body(record) is not None
        and not {"response", "modelOutput"} & record.keys()
        for record in shape.records
    )


def _is_prompts(shape: Shape) -> bool:
    asks = any(isinstance(record.get(name), str | list) for record in shape.records for name in _PROMPTS)
    return asks and not all(any(_says_tokens_of(path, side) for path in shape.paths) for side in SIDES)


def _says_tokens_of(path: str, side: str) -> bool:
    """Whether a path ends in a count of tokens: `usage.input_tokens`, `tokens.input`."""
    *around, name = path.split(".")
    return says_tokens_of(name, side) or says_tokens_of(".".join((*around[-1:], name)), side)


def _read_batch(shape: Shape) -> RawTable:
    return _table(_batch_line(line, record) for line, record in shape.source.records())


def _read_prompts(shape: Shape) -> RawTable:
    return _table(_prompt_line(line, record) for line, record in _records(shape))


def _records(shape: Shape) -> Iterator[tuple[int, Record | None]]:
    source = shape.source
    if source.kind is SourceKind.JSONL:
        yield from source.records()
        return
    used = (*_PROMPTS, *_ANSWERS, *_ARRIVALS, *_LIMITS, *_BESIDE, "model")
    rows = source.table({name: name for name in used if name in source.columns}).collect()
    for row in rows.iter_rows(named=True):
        yield row.pop("line"), row


def _batch_line(line: int, record: Record | None) -> _Prompt:
    body = _body(record)
    if record is None or body is None:
        return _Prompt(line=line, broken=True)
    prompt = _prompt_line(line, body)
    prompt.arrival = None
    if any(word in str(record.get("url")) for word in ("embeddings", "moderations", "images")):
        prompt.aside = Kind.NO_GENERATION.value
    return prompt


def _body(record: Record | None) -> Record | None:
    """Return the request of a line of a batch."""
    bodies = (record.get(name) for name in _BODIES) if record else ()
    return next((body for body in bodies if isinstance(body, dict)), None)


def _prompt_line(line: int, record: Record | None) -> _Prompt:
    if record is None:
        return _Prompt(line=line, broken=True)
    model = record.get("model")
    prompt = _Prompt(line=line, model=model if isinstance(model, str) else "")
    prompt.arrival = next((record[name] for name in _ARRIVALS if record.get(name) is not None), None)
    settings = [record, *(record[name] for name in _SETTINGS if isinstance(record.get(name), dict))]
    limits = (fields[name] for fields in settings for name in _LIMITS if isinstance(fields.get(name), int))
    prompt.limit = next(limits, None)
    asked = next((record[name] for name in _PROMPTS if record.get(name)), None)
    if asked is None:
        return prompt
    messages = asked if isinstance(asked, list) else [asked]
    answers = sum(_author(message) in _MODELS for message in messages)
    prompt.several = answers > 1
    if len(messages) > 1 and _author(messages[-1]) in _MODELS:
        prompt.answer = " ".join(_texts(messages[-1], _Prompt(line=line)))
        messages = messages[:-1]
    else:
        answer = next((record[name] for name in _ANSWERS if isinstance(record.get(name), str)), None)
        prompt.answer = answer if isinstance(answer, str) else None
    prompt.messages = len(messages)
    beside = [record[name] for name in _BESIDE if record.get(name)]
    prompt.text = "".join(text for part in (*messages, *beside) for text in _texts(part, prompt))
    return prompt


def _author(message: Any) -> str:  # noqa: ANN401  (any JSON)
    if not isinstance(message, dict):
        return ""
    if message.get(_BY_USER) is False:
        return "model"
    return str(message.get("role") or message.get("from"))


def _texts(part: Any, prompt: _Prompt) -> Iterator[str]:  # noqa: ANN401  (any JSON)
    """Yield the texts of a message, its parts, or the schema of a tool; images and other media go to the prompt."""
    if isinstance(part, str):
        for found in DATA_URL.finditer(part):
            prompt.images.append(image_of({"type": "image_url", "image_url": found.group()}) or Image(size=None))
        yield DATA_URL.sub("", part)
    elif isinstance(part, list):
        for member in part:
            yield from _texts(member, prompt)
    elif isinstance(part, dict):
        image = image_of(part)
        if image is not None:
            prompt.images.append(image)
        elif part.get("type") in _MEDIA:
            prompt.other_media += 1
        else:
            said = _SAID & part.keys() if {"role", "from", _BY_USER} & part.keys() else part.keys() - _NO_TEXT
            for key, value in part.items():
                if key in said:
                    yield from _texts(value, prompt)


def _table(prompts: Iterator[_Prompt]) -> RawTable:
    totals = _Totals()
    rows: list[tuple[Any, ...]] = []
    part: list[_Prompt] = []
    for prompt in prompts:
        part.append(prompt)
        if len(part) == _PART:
            rows += _counted(part, totals)
            part = []
    rows += _counted(part, totals)
    names = ("line", "broken", "arrival", "input", "output", "model", "aside")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    arrivals = any(value is not None for value in columns["arrival"])
    texts = [str(value) for value in columns["arrival"]] if arrivals else [0.0] * len(rows)
    schema = {"line": pl.UInt32, "input": pl.Float64, "output": pl.Float64, "model": pl.String, "aside": pl.String}
    table = pl.DataFrame(columns | {"arrival": texts}, schema_overrides=schema)
    return RawTable(
        table=table.lazy(),
        unit_s=None if arrivals else 1.0,
        assumptions=totals.assumptions(arrivals=arrivals),
        estimated_tokens=True,
    )


def _counted(prompts: list[_Prompt], totals: _Totals) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each prompt; all texts of a model are counted together, which tokenizers do faster."""
    inputs: dict[int, int] = {}
    answers: dict[int, int] = {}
    for model in dict.fromkeys(prompt.model for prompt in prompts):
        mine = [place for place, prompt in enumerate(prompts) if prompt.model == model]
        tokenizer = totals.tokenizers.setdefault(model, tokenizer_for(model))
        inputs |= zip(mine, tokenizer.counts([prompts[place].text for place in mine]), strict=True)
        answers |= zip(mine, tokenizer.counts([prompts[place].answer or "" for place in mine]), strict=True)
    for place, prompt in enumerate(prompts):
        yield _row(prompt, inputs[place], answers[place], totals)


def _row(prompt: _Prompt, text_tokens: int, answer_tokens: int, totals: _Totals) -> tuple[Any, ...]:
    if prompt.broken:
        return prompt.line, True, prompt.arrival, None, None, None, None
    totals.images += len(prompt.images)
    totals.unsized += sum(image.size is None and not image.low_detail for image in prompt.images)
    totals.other_media += prompt.other_media
    totals.several += prompt.several
    output = prompt.limit
    if prompt.answer:
        output = answer_tokens
    elif prompt.limit is None:
        output = _ASSUMED_OUTPUT_TOKENS
        totals.unlimited += 1
    else:
        totals.limited += 1
    media = sum(image_tokens(image, prompt.model) for image in prompt.images)
    overhead = _TOKENS_PER_REPLY + _TOKENS_PER_MESSAGE * prompt.messages
    input_tokens = overhead + text_tokens + media if prompt.messages else None
    return prompt.line, False, prompt.arrival, input_tokens, output, prompt.model or None, prompt.aside


BATCH: Final = TraceFormat(
    name="openai_batch",
    title="input of batch APIs: OpenAI, Anthropic, Bedrock, Gemini",
    json=True,
    recognizes=_is_batch,
    read=_read_batch,
)
PROMPTS: Final = TraceFormat(
    name="prompts", title="prompts or messages without token counts", recognizes=_is_prompts, read=_read_prompts
)
