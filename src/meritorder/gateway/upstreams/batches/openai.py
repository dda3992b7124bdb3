"""The batch API of OpenAI and of providers with the same API.

Source: platform.openai.com/docs/api-reference/batch and the types of the official client, `openai` 3.54, 2026-11.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import aiohttp
import msgspec

from meritorder.gateway.errors import checked_contract
from meritorder.gateway.upstreams.batches.provider import Provider, check, checked_id, one_line, own_id, wire_id
from meritorder.gateway.upstreams.batches.venue import BatchLimits, BatchLine, BatchState, BatchStatus, LineResult
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.dialects.fields import Json
from meritorder.gateway.upstreams.upstream import Runtime
from meritorder.units import SECONDS_PER_DAY

# OpenAI accepts 50,000 lines and 200 MB; a file is held in memory, so ours are smaller.
LIMITS: Final = BatchLimits(max_lines=50_000, max_bytes=64 * 2**20)
_TAG: Final = "meritorder_tag"
_PAGE: Final = 100
# Tolerance for clock skew.
_SKEW_S: Final = 300.0
_FILE_LIFETIME_S: Final = int(30 * SECONDS_PER_DAY)
_STATUS: Final = {
    "completed": BatchStatus.DONE,
    "failed": BatchStatus.FAILED,
    "expired": BatchStatus.EXPIRED,
    "cancelled": BatchStatus.CANCELLED,
}


class _LineResponse(msgspec.Struct):
    status_code: int
    request_id: str | None = None
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _OutputLine(msgspec.Struct):
    custom_id: str
    response: _LineResponse | None = None
    error: _Error | None = None


class OpenAIBatches:
    """A provider's batch API. See `venue.BatchVenue`.

    Args:
        endpoint: Its address and headers.
        runtime: Clock and randomness.
        limits: Limits of one batch.
        completion_window: The window to request; OpenAI supports one.
        models: Its own names of models, by the names that requests use.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        runtime: Runtime,
        *,
        limits: BatchLimits = LIMITS,
        completion_window: str = "24h",
        models: Mapping[str, str] | None = None,
    ) -> None:
        self.name = endpoint.name
        self.limits = limits
        self._provider = Provider(endpoint, runtime)
        self._window = completion_window
        self._models = models or {}

    def check(self, line: BatchLine) -> None:
        """Accept every line: the API is OpenAI's."""

    async def submit(
        self, lines: Sequence[BatchLine], tag: str, *, sent_epoch_s: float | None, known_ids: Collection[str] = ()
    ) -> str:
        """Submit a batch once and return the provider's id."""
        check(lines, tag, self.limits)
        batch_id = None if sent_epoch_s is None else await self._find(tag, sent_epoch_s, known_ids)
        if batch_id is not None:
            return batch_id
        async with self._provider.uploaded(tag, partial(self._upload, lines, tag), "/v1/files") as file_id:
            batch = {
                "input_file_id": file_id,
                "endpoint": lines[0].path,
                "completion_window": self._window,
                "metadata": {_TAG: tag},
            }
            created = await self._provider.write(
                self._provider.url("/v1/batches"), msgspec.json.encode(batch), {"Content-Type": "application/json"}
            )
        with checked_contract(self.name):
            return checked_id(created["id"])

    def _line(self, line: BatchLine, tag: str) -> bytes:
        body = msgspec.Raw(line.body)
        if (model := self._models.get(line.model, line.model)) != line.model:
            fields = msgspec.json.decode(line.body, type=dict[str, msgspec.Raw])
            fields["model"] = msgspec.Raw(msgspec.json.encode(model))
            body = msgspec.Raw(msgspec.json.encode(fields))
        return (
            msgspec.json.encode({"custom_id": wire_id(tag, line), "method": "POST", "url": line.path, "body": body})
            + b"\n"
        )

    async def _upload(self, lines: Sequence[BatchLine], tag: str) -> str:
        content = b"".join(self._line(line, tag) for line in lines)
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        # Files whose batch was never created must not accumulate.
        form.add_field("expires_after[anchor]", "created_at")
        form.add_field("expires_after[seconds]", str(_FILE_LIFETIME_S))
        form.add_field("file", content, filename=f"meritorder-{tag}.jsonl", content_type="application/jsonl")
        file = await self._provider.write(self._provider.url("/v1/files"), form)
        with checked_contract(self.name):
            return checked_id(file["id"])

    async def _find(self, tag: str, since_epoch_s: float, known_ids: Collection[str]) -> str | None:
        """Search the batches, latest first, for the one with our tag."""
        async for page in self._provider.pages("/v1/batches", _next_page, limit=_PAGE):
            with checked_contract(self.name):
                for batch in page["data"]:
                    if (batch.get("metadata") or {}).get(_TAG) == tag and batch["id"] not in known_ids:
                        return checked_id(batch["id"])
                if any(batch["created_at"] < since_epoch_s - _SKEW_S for batch in page["data"][-1:]):
                    break
        return None

    async def poll(self, batch_id: str) -> BatchState:
        """Return the state of a batch."""
        batch = await self._batch(batch_id)
        with checked_contract(self.name):
            counts = batch.get("request_counts") or {}
            errors = (batch.get("errors") or {}).get("data") or []
            return BatchState(
                status=_STATUS.get(batch["status"], BatchStatus.RUNNING),
                total=counts.get("total", 0),
                completed=counts.get("completed", 0),
                failed=counts.get("failed", 0),
                message=one_line(errors[0].get("message")) if errors else None,
            )

    async def _batch(self, batch_id: str) -> Json:
        return await self._provider.read(self._provider.url(f"/v1/batches/{batch_id}"))

    async def results(self, batch_id: str, tag: str) -> AsyncIterator[LineResult]:
        """Yield the results of both files; unfinished lines are in the error file."""
        batch = await self._batch(batch_id)
        decode = msgspec.json.Decoder(_OutputLine).decode
        for file_id in (batch.get("output_file_id"), batch.get("error_file_id")):
            if not file_id:
                continue
            url = self._provider.url(f"/v1/files/{file_id}/content")
            async for result in self._provider.decoded(url, lambda line: _result(decode(line), tag)):
                yield result

    async def cancel(self, batch_id: str) -> None:
        """Ask the provider to cancel a batch."""
        await self._provider.write(self._provider.url(f"/v1/batches/{batch_id}/cancel"))

    async def discard(self, batch_id: str) -> None:
        """Delete the input file of a batch that the provider refused."""
        batch = await self._batch(batch_id)
        if isinstance(file_id := batch.get("input_file_id"), str):
            await self._provider.delete(self._provider.url(f"/v1/files/{file_id}"))

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self._provider.close()


def _next_page(page: Json) -> dict[str, str] | None:
    batches = page["data"]
    return {"after": str(batches[-1]["id"])} if batches and page.get("has_more") else None


def _result(line: _OutputLine, tag: str) -> LineResult:
    custom_id = own_id(line.custom_id, tag)
    if line.response is not None:
        response = line.response
        return LineResult(
            custom_id=custom_id,
            status_code=response.status_code,
            body=bytes(response.body),
            request_id=response.request_id,
        )
    code = line.error.code if line.error else None
    return LineResult(custom_id=custom_id, status_code=None, error_code=code or "batch_expired")
