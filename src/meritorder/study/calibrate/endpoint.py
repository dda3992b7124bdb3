"""Load a live OpenAI-compatible endpoint briefly and within bounds, and time its answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from meritorder.errors import ConfigError, MissingExtraError
from meritorder.latency import tpot_s
from meritorder.traces.timed import TimedLog

_CONCURRENCIES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
# Each concurrency is held twice: once to fit to, once to judge on.
_PASSES: Final = 2
_WORDS: Final = (24, 1500)
_OUTPUT_TOKENS: Final = (16, 256)
_VOCABULARY: Final = (
    *("river", "stone", "light", "paper", "window", "garden", "winter", "engine", "copper", "market", "letter"),
    *("harbor", "signal", "meadow", "candle", "bridge", "silver", "morning", "thunder", "pocket", "ladder", "compass"),
)
# The load of a slow engine is cut to about this time, by shorter prompts and answers, but no shorter than this.
_LOAD_S: Final = 90.0
_LEAST_LONGEST: Final = 4
_PROBE_TOKENS: Final = 32
# Sequences that a slow engine decodes at once at no loss.
_DECODED_AT_ONCE: Final = 4
_CONNECT_S: Final = 10.0
_MIN_ANSWERS: Final = 8
_BAD_REQUEST: Final = 400
_UNPROCESSABLE: Final = 422

Progress = Callable[[str], None]


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _StreamChoice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _StreamChunk(msgspec.Struct):
    choices: list[_StreamChoice] = []
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits on the load of an endpoint.

    Args:
        max_requests: Most requests.
        max_s: Longest time; requests in flight at its end are dropped.
        max_concurrency: Most requests at one time.
    """

    max_requests: int = 200
    max_s: float = 600.0
    max_concurrency: int = 64

    def stages(self) -> list[int]:
        """Return the concurrency of each stage; a stage sends as many requests, and at least two."""
        ladder, left = [], self.max_requests // _PASSES
        for concurrency in _CONCURRENCIES:
            left -= max(2, concurrency)
            if left < 0 or concurrency > self.max_concurrency:
                break
            ladder.append(concurrency)
        return ladder * _PASSES


@dataclass(frozen=True, slots=True, kw_only=True)
class _TimedAnswer:
    arrived_s: float
    ttft_s: float
    e2e_s: float
    input_tokens: int
    output_tokens: int


def _length_share(answer: _TimedAnswer, stages: Sequence[int]) -> float:
    """Return the share of the longest lengths at which a load takes about as long as it should, at most 1.

    Args:
        answer: One answer of an idle engine.
        stages: The concurrency of each stage.
    """
    prefill_s = answer.ttft_s / answer.input_tokens
    decode_s = (answer.e2e_s - answer.ttft_s) / max(answer.output_tokens - 1, 1)
    words, tokens = _mean(_WORDS), _mean(_OUTPUT_TOKENS)
    load_s = sum(
        max(2, concurrency) * (words * prefill_s + tokens * decode_s / min(concurrency, _DECODED_AT_ONCE))
        for concurrency in stages
    )
    return min(1.0, _LOAD_S / load_s) if load_s > 0 else 1.0


def _mean(span: tuple[int, int]) -> float:
    """Return the mean of lengths whose logarithm is uniform."""
    low, high = span
    return float((high - low) / np.log(high / low))


class _LoadTest:
    """One load test of one endpoint."""

    def __init__(self, client: Any, url: str, model: str, bounds: Bounds, seed: int) -> None:
        self.client, self.model, self.bounds = client, model, bounds
        self.url = f"{url.rstrip('/').removesuffix('/v1')}/v1/chat/completions"
        self.generator = np.random.default_rng(seed)
        self.exact_lengths = True
        self.words, self.output_tokens = _WORDS, _OUTPUT_TOKENS
        self.answers: list[_TimedAnswer] = []
        self.failures: list[str] = []
        self.began_s = 0.0

    async def run(self, progress: Progress) -> None:
        await self._send(4)  # warm up: a cold start is not typical
        await self._send(_PROBE_TOKENS)
        if self.failures:
            raise ConfigError(self.failures[0], where=self.url)
        stages = self.bounds.stages()
        self._shorten(_length_share(self.answers[-1], stages), progress)
        self.answers.clear()
        self.began_s = time.perf_counter()
        for number, concurrency in enumerate(stages, start=1):
            left_s = self.bounds.max_s - (time.perf_counter() - self.began_s)
            if left_s <= 0:
                progress("time limit reached: using the answers so far")
                return
            done = f"{len(self.answers)} of at most {self.bounds.max_requests} requests"
            progress(f"loading the endpoint: {concurrency} at once (stage {number} of {len(stages)}, {done})")
            lengths = [self._length(self.output_tokens) for _ in range(max(2, concurrency))]
            stage = asyncio.create_task(self._stage(lengths, concurrency))
            _, pending = await asyncio.wait({stage}, timeout=left_s)
            if pending:
                stage.cancel()
                await asyncio.gather(stage, return_exceptions=True)
            else:
                stage.result()

    def _shorten(self, share: float, progress: Progress) -> None:
        """Take a share of the longest prompts and answers."""
        if share == 1:
            return
        (least_words, most_words), (least_tokens, most_tokens) = _WORDS, _OUTPUT_TOKENS
        self.words = least_words, max(_LEAST_LONGEST * least_words, round(most_words * share))
        self.output_tokens = least_tokens, max(_LEAST_LONGEST * least_tokens, round(most_tokens * share))
        progress(
            f"a slow engine: prompts of up to {self.words[1]} words, answers of up to {self.output_tokens[1]} tokens"
        )

    async def _stage(self, output_tokens: list[int], concurrency: int) -> None:
        if concurrency > 1:
            await asyncio.gather(*(self._send(tokens) for tokens in output_tokens))
            return
        for tokens in output_tokens:
            await self._send(tokens)

    def _length(self, span: tuple[int, int]) -> int:
        low, high = np.log(span)
        return int(np.exp(self.generator.uniform(low, high)))

    async def _send(self, output_tokens: int) -> None:
        import httpx2

        words = self.generator.choice(_VOCABULARY, self._length(self.words))
        body: dict[str, Any] = {
            "model": self.model,
            # The number comes first, so that no two prompts share a prefix that could be cached.
            "messages": [{"role": "user", "content": f"{self.generator.integers(1 << 40)} {' '.join(words)}"}],
            "max_tokens": output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        try:
            await self._timed(body)
        except httpx2.ConnectError:
            self.failures.append("no server answers at this address")
        except httpx2.HTTPError as error:
            self.failures.append(f"{type(error).__name__}: {error}"[:200])

    async def _timed(self, body: dict[str, Any]) -> None:
        sent = body | {"ignore_eos": True} if self.exact_lengths else body
        started = time.perf_counter()
        async with self.client.stream("POST", self.url, json=sent) as response:
            if response.status_code in {_BAD_REQUEST, _UNPROCESSABLE} and self.exact_lengths:
                self.exact_lengths = False  # not vLLM or SGLang: answers end by themselves
                await self._timed(body)
                return
            if response.status_code >= _BAD_REQUEST:
                text = (await response.aread()).decode(errors="replace")
                self.failures.append(f"HTTP {response.status_code}: {' '.join(text.split())[:200]}")
                return
            first_s, last_s, chunks, usage = 0.0, 0.0, 0, None
            async for chunk in _stream_chunks(response):
                usage = chunk.usage or usage
                if any(c.delta.content or c.delta.reasoning_content or c.delta.reasoning for c in chunk.choices):
                    last_s = time.perf_counter()
                    first_s = first_s or last_s
                    chunks += 1
        if not chunks:
            self.failures.append("an answer has no tokens")
            return
        words = len(body["messages"][0]["content"].split())
        self.answers.append(
            _TimedAnswer(
                arrived_s=started - self.began_s,
                ttft_s=first_s - started,
                e2e_s=last_s - started,
                input_tokens=(usage.prompt_tokens if usage else 0) or words,
                output_tokens=(usage.completion_tokens if usage else 0) or chunks,
            )
        )


async def _stream_chunks(response: Any) -> AsyncIterator[_StreamChunk]:
    decode = msgspec.json.Decoder(_StreamChunk).decode
    async for line in response.aiter_lines():
        if line.startswith("data:") and (data := line[5:].strip()) and data != "[DONE]":
            try:
                yield decode(data)
            except msgspec.MsgspecError as error:
                raise ConfigError(f"the stream of an answer is not in OpenAI's format: {error}") from error


def measure(
    url: str, model: str, *, bounds: Bounds, api_key: str = "", seed: int = 0, progress: Progress = lambda _: None
) -> TimedLog:
    """Send prompts of many lengths at increasing concurrency, and time the answers.

    Args:
        url: Base URL, with or without `/v1`.
        model: The endpoint's name of the model.
        bounds: Limits on the load.
        api_key: Sent as a bearer token if not empty.
        seed: Seed of prompts and lengths.
        progress: Called with a description of each stage.

    Raises:
        MissingExtraError: httpx2 is not installed.
        ConfigError: The endpoint does not answer, refuses, or answers too few requests.
    """
    try:
        import httpx2
    except ImportError as error:
        raise MissingExtraError(
            "loading an endpoint needs httpx2", fix="pip install 'meritorder[endpoint]', or calibrate on a log"
        ) from error

    async def run() -> _LoadTest:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = httpx2.Timeout(bounds.max_s, connect=_CONNECT_S)
        pool = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(headers=headers, timeout=timeout, limits=pool) as client:
            load = _LoadTest(client, url, model, bounds, seed)
            await load.run(progress)
            return load

    load = asyncio.run(run())
    answers = sorted(load.answers, key=lambda answer: answer.arrived_s)
    if len(answers) < 2 * _MIN_ANSWERS:
        why = f"; the first failure: {load.failures[0]}" if load.failures else ""
        fix = "raise --max-requests or --max-minutes"
        raise ConfigError(f"only {len(answers)} requests were answered{why}", where=load.url, fix=fix)
    output_tokens = np.array([answer.output_tokens for answer in answers], np.int32)
    ttft_s = np.array([answer.ttft_s for answer in answers])
    e2e_s = np.array([answer.e2e_s for answer in answers])
    arrived_s = np.array([answer.arrived_s for answer in answers])
    return TimedLog(
        name=url,
        model=model,
        hardware="",
        gpus=None,
        replicas=1,
        arrived_s=arrived_s - arrived_s[0],
        input_tokens=np.array([answer.input_tokens for answer in answers], np.int32),
        cached_tokens=np.zeros(len(answers), np.int32),
        output_tokens=output_tokens,
        ttft_s=ttft_s,
        tpot_s=tpot_s(e2e_s, ttft_s, output_tokens),
        e2e_s=e2e_s,
        dropped=len(load.failures),
    )
