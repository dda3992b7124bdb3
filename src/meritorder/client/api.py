"""The gateway's files, quotes and batches, over outages of the gateway."""

import asyncio
import itertools
import json
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx2
import msgspec

from meritorder.client.calls import Answer, failure
from meritorder.client.journal import Batch
from meritorder.units import parse_duration_s

_FINAL: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_RETRIED: Final = frozenset({408, 409, 429, 500, 502, 503, 504})
_NO_FUNDS: Final = b'"insufficient_quota"'
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 5.0
_TIMEOUT_S: Final = 60.0
_WITHOUT_ANSWER: Final = {"batch_expired": 504, "batch_cancelled": 409}


class RefusedError(Exception):
    """The gateway refused a request of a batch.

    Args:
        answer: The answer to its calls.
        line: The only line that is refused, from 0; None if all are.
    """

    def __init__(self, answer: Answer, line: int | None = None) -> None:
        super().__init__(answer.status)
        self.answer, self.line = answer, line


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _Reason(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _Result(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: _Reason | None = None

    def answer(self) -> Answer:
        if self.response is not None:
            return Answer(self.response.status_code, bytes(self.response.body))
        reason = self.error or _Reason()
        code = reason.code or "upstream_error"
        return failure(_WITHOUT_ANSWER.get(code, 502), reason.message or "There is no answer.", code=code)


class BatchApi:
    """The batches of one caller at one gateway, of one form of calls.

    Args:
        transport: Sends requests.
        url: The gateway's API, which ends in `/v1`.
        headers: Headers that authenticate the caller.
        max_outage_s: How long an outage of the gateway may last until calls fail.
    """

    def __init__(
        self, transport: httpx2.AsyncBaseTransport, url: str, headers: Mapping[str, str], max_outage_s: float
    ) -> None:
        self._client = httpx2.AsyncClient(transport=transport, headers=headers, timeout=_TIMEOUT_S)
        self._url = url
        self._max_outage_s = max_outage_s

    async def upload(self, batch: Batch) -> str:
        """Upload the lines of a batch; return the id of the file."""
        file = (f"client-{batch.id}.jsonl", batch.input, "application/jsonl")
        content = await self._send("POST", "/files", data={"purpose": "batch"}, files={"file": file})
        return str(json.loads(content)["id"])

    async def quote(self, batch: Batch, file_id: str, calls: int) -> str:
        """Return the id of a quote of a batch within its limit.

        Raises:
            RefusedError: It would cost more than its calls may.
        """
        content = await self._send(
            "POST", "/quotes", json={"input_file_id": file_id, "endpoint": self._endpoint(batch)}
        )
        quote = json.loads(content)
        limit_usd = calls * (batch.promise.max_usd or 0.0)
        price_usd = _price_usd(quote, batch.window_s)
        if price_usd is not None and price_usd <= limit_usd:
            return str(quote["id"])
        price = "without a price" if price_usd is None else f"${price_usd:.3g}"
        message = f"{calls} calls are quoted {price} within this deadline; quote= allows ${limit_usd:.3g} for them."
        raise RefusedError(failure(402, message, code="quote_exceeded", param="quote"))

    async def create(self, batch: Batch, file_id: str, quote_id: str | None) -> dict[str, Any]:
        """Create a batch at the gateway, once; return it."""
        fields: dict[str, Any] = {"input_file_id": file_id, "endpoint": self._endpoint(batch)}
        fields["completion_window"] = f"{batch.window_s}s"
        fields["metadata"] = {"quote_id": quote_id} if quote_id else {"meritorder_client": batch.id}
        headers = {"Idempotency-Key": batch.id}
        return dict(json.loads(await self._send("POST", "/batches", json=fields, headers=headers)))

    async def retrieve(self, created: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch as it is now."""
        return dict(json.loads(await self._send("GET", f"/batches/{created['id']}")))

    async def cancel(self, created: Mapping[str, Any]) -> None:
        """Cancel a batch, unless it has ended."""
        await self._client.post(f"{self._url}/batches/{created['id']}/cancel")

    async def results(self, ended: Mapping[str, Any]) -> dict[str, Answer]:
        """Return the answers of a batch that has ended, by the ids of its lines."""
        answers = {}
        for name in ("output_file_id", "error_file_id"):
            if file_id := ended[name]:
                for line in (await self._send("GET", f"/files/{file_id}/content")).splitlines():
                    result = msgspec.json.decode(line, type=_Result)
                    answers[result.custom_id] = result.answer()
        return answers

    def _endpoint(self, batch: Batch) -> str:
        return f"/v1{batch.promise.endpoint}"

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _send(self, method: str, path: str, **content: Any) -> bytes:  # noqa: ANN401 - what httpx takes
        """Return the body of a successful answer, however often the gateway is away in between.

        Raises:
            RefusedError: The gateway refuses.
            httpx2.TransportError: The outage is too long.
        """
        ends_s = time.monotonic() + self._max_outage_s
        for attempt in itertools.count():
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(attempt, 10))
            try:
                response = await self._client.request(method, self._url + path, **content)
            except httpx2.TransportError:
                if time.monotonic() > ends_s:
                    raise
            else:
                if response.is_success:
                    return response.content
                may_change = response.status_code in _RETRIED and _NO_FUNDS not in response.content
                if not may_change or time.monotonic() > ends_s:
                    raise RefusedError(Answer(response.status_code, response.content))
                if (after := response.headers.get("retry-after", "")).isdigit():
                    wait_s = float(after)
            await asyncio.sleep(wait_s)
        raise AssertionError


def _price_usd(quote: Mapping[str, Any], window_s: float) -> float | None:
    """Return the price of the longest offer within a window, as the gateway applies it."""
    prices_usd = {
        patience_s: float(offer["usd"])
        for offer in quote["offers"]
        if offer["usd"] is not None and (patience_s := parse_duration_s(offer["patience"])) is not None
    }
    return max(((wait_s, usd) for wait_s, usd in prices_usd.items() if wait_s <= window_s), default=(0.0, None))[1]


def has_ended(created: Mapping[str, Any]) -> bool:
    """Tell whether a batch has ended."""
    return created["status"] in _FINAL


def refused_lines(ended: Mapping[str, Any], batch: Batch) -> dict[str, Answer]:
    """Return why the gateway refused lines of a batch, by their ids; all of them, if it names none."""
    ids = batch.line_ids()
    errors = (ended.get("errors") or {}).get("data") or [{}]
    named = [error for error in errors if error.get("line")]
    if not named:
        return dict.fromkeys(ids, _refusal(errors[0]))
    return {ids[error["line"] - 1]: _refusal(error) for error in named}


def without(
    batch: Batch, new_id: str, keys: Mapping[str, str], refused: Mapping[str, Answer]
) -> tuple[Batch, list[str]]:
    """Return a batch without the lines that were refused, and the keys that it still has."""
    left = {line: key for line, key in keys.items() if line not in refused}
    lines = [line for line in batch.input.splitlines(keepends=True) if json.loads(line)["custom_id"] in left]
    smaller = Batch(id=new_id, promise=batch.promise, window_s=batch.window_s, input=b"".join(lines))
    return smaller, list(left.values())


def _refusal(error: Mapping[str, Any]) -> Answer:
    message = error.get("message") or "The gateway refused the batch of this call."
    status = 404 if error.get("code") == "model_not_found" else 400
    return failure(status, message, code=error.get("code") or "invalid_request", param=error.get("param"))
