"""A worker of a job: asks for the answers of rows, and writes them before it takes more rows."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from meritorder.jobs.endpoints import Endpoints, Reply
from meritorder.jobs.output import OutputFolder, Stored, hash_ids
from meritorder.jobs.rows import RowRequest, RowRules
from meritorder.jobs.spending import Allowance, Tokens

DEADLINE: Final = "the deadline, or the time that the budget pays for, is over"
BUDGET: Final = "the budget is spent"

_OK: Final = 200
_SERVER_ERROR: Final = 500
_BUSY: Final = frozenset({0, 429, 503})
_LATER: Final = frozenset({408, 409, 425})
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
_LEAST_BYTES_PER_TOKEN: Final = 2
_USAGE: Final = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
_MOST_TOKENS: Final = 10**9

Answer = dict[str, Any]
"""A row of the output."""

Left = str
"""Why a row has no answer yet: the next run asks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingOptions:
    """How workers ask.

    Args:
        urls: The endpoints, with `/v1`.
        api_key: Their key; empty for none.
        calls: Calls in flight of one worker.
        max_attempts: Attempts at a row whose endpoint fails.
        max_outage_s: How long no call may succeed until the job stops.
        deadline_s: When the job ends, Unix time; None without a deadline.
        usd_per_token: Prices of an input and an output token.
        max_tokens: Output tokens that are reserved of the budget for a row without a limit of its own.
    """

    urls: tuple[str, ...]
    api_key: str = ""
    calls: int = 64
    max_attempts: int = 5
    max_outage_s: float = 600.0
    deadline_s: float | None = None
    usd_per_token: tuple[float, float] = (0.0, 0.0)
    max_tokens: int = 0

    def cost_usd(self, tokens: Tokens) -> float:
        """Return the cost of tokens."""
        return self.usd_per_token[0] * tokens.input + self.usd_per_token[1] * tokens.output


class RowAnswerer:
    """A stage of Ray Data that answers batches of rows; one instance for each worker.

    Args:
        rules: How rows become requests.
        options: How to ask.
        folder: Path or URL of the folder of the answers.
        answered: The answers that were in the folder when the run began.
        lease: Leases dollars of the budget, and takes them back where they are negative; None without a budget.
    """

    def __init__(
        self,
        rules: RowRules,
        options: AskingOptions,
        folder: str,
        answered: Stored,
        lease: Callable[[float], Awaitable[float]] | None = None,
    ) -> None:
        self._rules, self._options = rules, options
        self._output = OutputFolder(folder)
        # Ray restarts a worker that was lost, with the same arguments.
        self._answered = np.union1d(answered.hashes, self._output.hashes(after=answered.newest))
        self._endpoints = Endpoints(options.urls, options.api_key, options.deadline_s)
        self._allowance = Allowance(lease) if lease else None
        self._in_flight = asyncio.Semaphore(options.calls)
        self._last_success_s = time.monotonic()
        self._outage: Left = ""
        self._call_s = 0.0

    async def __call__(self, table: pa.Table) -> pa.Table:
        """Answer rows and write their answers; return sums of them, how many rows were left, why, and how long it took.

        Seconds of successful calls are summed over all calls that ended since the last report.
        """
        began_s = time.time()
        requests = [self._rules.to_request(row) for row in table.to_pylist()]
        hashes = hash_ids(request.id for request in requests)
        first, after = (np.searchsorted(self._answered, hashes, side) for side in ("left", "right"))
        outcomes = await asyncio.gather(*(self._answer(requests[place]) for place in np.flatnonzero(first == after)))
        answers = [outcome for outcome in outcomes if isinstance(outcome, dict)]
        left = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if answers:
            await asyncio.to_thread(self._output.write, answers)
        call_s, self._call_s = self._call_s, 0.0
        return pa.table(
            {
                "began_s": [began_s],
                "ended_s": [time.time()],
                "call_s": [call_s],
                "rows": [len(answers)],
                "failed": [sum(answer["error"] is not None for answer in answers)],
                "input_tokens": [sum(answer["input_tokens"] for answer in answers)],
                "output_tokens": [sum(answer["output_tokens"] for answer in answers)],
                "left": [len(left)],
                "why": [left[0] if left else ""],
            }
        )

    async def close(self) -> None:
        """Close the connections to the endpoints."""
        await self._endpoints.close()

    async def _answer(self, request: RowRequest) -> Answer | Left:
        if request.error:
            return _to_answer(request)
        async with self._in_flight:
            if self._allowance is None:
                return await self._ask(request)
            options = self._options
            output_tokens = options.max_tokens if request.max_tokens is None else request.max_tokens
            most_usd = options.cost_usd(Tokens(-(-len(request.body) // _LEAST_BYTES_PER_TOKEN), output_tokens))
            if not await self._allowance.reserve(most_usd):
                return BUDGET
            paid_usd = 0.0
            try:
                answer = await self._ask(request)
                if isinstance(answer, dict):
                    paid_usd = options.cost_usd(Tokens(answer["input_tokens"], answer["output_tokens"]))
                return answer
            finally:
                await self._allowance.settle(most_usd, paid_usd)

    async def _ask(self, request: RowRequest) -> Answer | Left:
        """Retry until there is an answer: for busy endpoints as long as other calls succeed, else a few times."""
        options = self._options
        failures = 0
        for attempt in count(1):
            if self._outage:
                return self._outage
            if options.deadline_s is not None and time.time() >= options.deadline_s:
                return DEADLINE
            asked_s = time.monotonic()
            reply = await self._endpoints.post(request.path, request.body)
            if reply.status == _OK:
                self._last_success_s = time.monotonic()
                self._call_s += self._last_success_s - asked_s
            answer = _to_answer(request, reply, attempt)
            if answer["error"] is None:
                return answer
            if reply.status not in _BUSY:
                failures += 1
                can_succeed = reply.status == _OK or reply.status in _LATER or reply.status >= _SERVER_ERROR
                if not can_succeed or failures == options.max_attempts:
                    return answer
            elif time.monotonic() - self._last_success_s > options.max_outage_s:
                self._outage = f"no endpoint answers: {reply.message}"
            await self._wait(reply, attempt)
        raise AssertionError

    async def _wait(self, reply: Reply, attempt: int) -> None:
        """Wait as long as the endpoint asks for, else longer with each attempt, at most until the deadline."""
        if not reply.status:
            return  # another endpoint may respond
        wait_s = reply.retry_after_s
        if wait_s is None:
            wait_s = min(_FIRST_WAIT_S * 2.0 ** (attempt - 1), _LONGEST_WAIT_S) * random.uniform(0.5, 1.0)  # noqa: S311
        if self._options.deadline_s is not None:
            wait_s = min(wait_s, self._options.deadline_s - time.time())
        await asyncio.sleep(max(wait_s, 0.0))


def _to_answer(request: RowRequest, reply: Reply | None = None, attempts: int = 0) -> Answer:
    """Return a row of the output; its `error` is null only if an endpoint answered."""
    answer: Answer = {
        "id": request.id,
        "text": None,
        "error": request.error,
        "status": None,
        "input_tokens": 0,
        "output_tokens": 0,
        "attempts": attempts,
        "answer": None,
        "row": request.row,
    }
    if reply is None:
        return answer
    if reply.status != _OK:
        return answer | {"status": reply.status, "error": reply.message}
    try:
        text, input_tokens, output_tokens = _read(msgspec.json.decode(reply.body))
        whole = reply.body.decode()
    except (msgspec.DecodeError, RecursionError, AttributeError, TypeError, ValueError, LookupError) as fault:
        return answer | {"status": reply.status, "error": f"the answer of the endpoint cannot be read: {fault}"}
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    return answer | usage | {"status": reply.status, "error": None, "text": text, "answer": whole}


def _read(answer: dict[str, Any]) -> tuple[str | None, int, int]:
    """Return the text of an answer of any endpoint, and its input and output tokens."""
    usage = answer.get("usage") or {}
    tokens = [int(usage.get(chat) or usage.get(response) or 0) for chat, response in _USAGE]
    if not all(0 <= count <= _MOST_TOKENS for count in tokens):
        raise ValueError(f"tokens are counted as {tokens}")
    if choices := answer.get("choices"):
        text = (choices[0].get("message") or {}).get("content") or choices[0].get("text")
    else:
        contents = [content for item in answer.get("output") or () for content in item.get("content") or ()]
        text = "".join(content.get("text") or "" for content in contents) or None
    return text if isinstance(text, str) else None, tokens[0], tokens[1]
