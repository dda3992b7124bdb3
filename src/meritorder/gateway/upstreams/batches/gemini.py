"""Gemini's batches of generateContent, through files.

Source: ai.google.dev/api/batch-api, ai.google.dev/api/files and the official client, `google-genai` 3.4, 2026-11.
"""

import datetime as dt
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
from yarl import URL

from meritorder.gateway.errors import BrokenAnswerError, checked_contract
from meritorder.gateway.upstreams.batches.provider import Provider, check, checked_id, one_line, own_id, wire_id
from meritorder.gateway.upstreams.batches.venue import BatchLimits, BatchLine, BatchState, BatchStatus, LineResult
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.dialects.dialect import answered_line, failed_line, translate_line
from meritorder.gateway.upstreams.dialects.fields import Json
from meritorder.gateway.upstreams.dialects.gemini import Gemini, model_name
from meritorder.gateway.upstreams.upstream import Runtime

# Gemini accepts files of 2 GB; ours are held in memory.
LIMITS: Final = BatchLimits(max_lines=50_000, max_bytes=64 * 2**20)
_PAGE: Final = 100
_SKEW_S: Final = 300.0
_STATUS: Final = {
    "SUCCEEDED": BatchStatus.DONE,
    "PARTIALLY_SUCCEEDED": BatchStatus.DONE,
    "FAILED": BatchStatus.FAILED,
    "EXPIRED": BatchStatus.EXPIRED,
    "CANCELLED": BatchStatus.CANCELLED,
}
# HTTP statuses of google.rpc.Code.
_STATUS_OF_CODE: Final = {1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 13: 500, 14: 503, 16: 401}


class GeminiBatches:
    """Batches of generateContent. See `venue.BatchVenue`.

    Args:
        endpoint: Its address and headers.
        runtime: Clock and randomness.
        limits: Limits of one batch.
        models: Its own names of models, by the names that requests use.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        runtime: Runtime,
        *,
        limits: BatchLimits = LIMITS,
        models: Mapping[str, str] | None = None,
    ) -> None:
        self.name = endpoint.name
        self.limits = limits
        self._provider = Provider(endpoint, runtime)
        self._models = models or {}
        self._dialect = Gemini()

    def check(self, line: BatchLine) -> None:
        """Check that the API can express a line."""
        self._request(line)

    def _request(self, line: BatchLine) -> Json:
        return translate_line(self._dialect, line, self._models.get(line.model, line.model), venue=self.name)

    async def submit(
        self, lines: Sequence[BatchLine], tag: str, *, sent_epoch_s: float | None, known_ids: Collection[str] = ()
    ) -> str:
        """Submit a batch once and return the provider's id."""
        check(lines, tag, self.limits)
        model = self._models.get(lines[0].model, lines[0].model)
        requests = [{"key": wire_id(tag, line), "request": self._request(line)} for line in lines]
        batch_id = None if sent_epoch_s is None else await self._find(tag, sent_epoch_s, known_ids)
        if batch_id is not None:
            return batch_id
        async with self._provider.uploaded(tag, partial(self._upload, requests, tag), "") as file_name:
            batch = {"batch": {"displayName": tag, "inputConfig": {"fileName": file_name}}}
            created = await self._provider.write(
                self._provider.url(f"/{model_name(model)}:batchGenerateContent"),
                msgspec.json.encode(batch),
                {"Content-Type": "application/json"},
            )
        with checked_contract(self.name):
            return checked_id(created["name"])

    async def _upload(self, requests: Sequence[Json], tag: str) -> str:
        """Upload a file in two steps: announce it, then send it to the URL in the answer."""
        content = b"".join(msgspec.json.encode(request) + b"\n" for request in requests)
        start = self._provider.root_url("/upload" + self._provider.url("/files").path)
        headers = await self._provider.post(
            start,
            msgspec.json.encode({"file": {"displayName": f"meritorder-{tag}"}}),
            {
                "Content-Type": "application/json",
                "X-Goog-Upload-Protocol": "resumable",
                "X-Goog-Upload-Command": "start",
                "X-Goog-Upload-Header-Content-Length": str(len(content)),
                "X-Goog-Upload-Header-Content-Type": "application/jsonl",
            },
        )
        target = URL(headers.get("X-Goog-Upload-URL", ""))
        if not target.absolute or target.origin() != start.origin():
            raise BrokenAnswerError(
                "names an upload URL of another origin", venue=self.name
            )  # our key must not be sent there
        uploaded = await self._provider.write(
            target, content, {"X-Goog-Upload-Offset": "0", "X-Goog-Upload-Command": "upload, finalize"}
        )
        with checked_contract(self.name):
            return checked_id(uploaded["file"]["name"])

    async def _find(self, tag: str, since_epoch_s: float, known_ids: Collection[str]) -> str | None:
        """Search the batches for the one with our tag."""
        async for page in self._provider.pages("/batches", _next_page, pageSize=_PAGE):
            batches = page.get("operations") or []
            with checked_contract(self.name):
                for batch in batches:
                    if batch["metadata"].get("displayName") == tag and batch["name"] not in known_ids:
                        return checked_id(batch["name"])
                if all(_epoch_s(batch) < since_epoch_s - _SKEW_S for batch in batches):
                    break
        return None

    async def poll(self, batch_id: str) -> BatchState:
        """Return the state of a batch."""
        batch = await self._provider.read(self._provider.url(f"/{batch_id}"))
        with checked_contract(self.name):
            metadata = batch["metadata"]
            counts = metadata.get("batchStats") or {}
            state = metadata.get("state", "").removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
            return BatchState(
                status=_STATUS.get(state, BatchStatus.RUNNING),
                total=int(counts.get("requestCount", 0)),
                completed=int(counts.get("successfulRequestCount", 0)),
                failed=int(counts.get("failedRequestCount", 0)),
                message=one_line(batch["error"].get("message")) if batch.get("error") else None,
            )

    async def results(self, batch_id: str, tag: str) -> AsyncIterator[LineResult]:
        """Yield the results of the lines."""
        batch = await self._provider.read(self._provider.url(f"/{batch_id}"))
        with checked_contract(self.name):
            output = batch["metadata"].get("output") or batch.get("response") or {}
            file_name = output.get("responsesFile")
        if not file_name:
            return  # a batch that expired or was cancelled may have none
        created_s = int(self._provider.now().timestamp())
        url = self._provider.url(f"/{file_name}:download", alt="media")
        async for result in self._provider.decoded(url, lambda line: self._result(line, tag, created_s)):
            yield result

    def _result(self, line: bytes, tag: str, created_s: int) -> LineResult:
        content = msgspec.json.decode(line, type=Json)
        custom_id = own_id(content["key"], tag)
        if "response" in content:
            return answered_line(self._dialect, custom_id, content["response"], created_s=created_s, venue=self.name)
        error = content["error"]
        status = _STATUS_OF_CODE.get(error.get("code", 0), 500)
        return failed_line(custom_id, error.get("message", "no reason given"), status=status, code=None)

    async def cancel(self, batch_id: str) -> None:
        """Ask the provider to cancel a batch."""
        await self._provider.write(
            self._provider.url(f"/{batch_id}:cancel"), b"{}", {"Content-Type": "application/json"}
        )

    async def discard(self, batch_id: str) -> None:
        """Delete the input file of a batch that the provider refused."""
        batch = await self._provider.read(self._provider.url(f"/{batch_id}"))
        file_name = (batch.get("metadata", {}).get("inputConfig") or {}).get("fileName")
        if isinstance(file_name, str):
            await self._provider.delete(self._provider.url(f"/{file_name}"))

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self._provider.close()


def _next_page(page: Json) -> dict[str, str] | None:
    return {"pageToken": str(page["nextPageToken"])} if page.get("nextPageToken") else None


def _epoch_s(batch: Json) -> float:
    created = batch["metadata"].get("createTime")
    return dt.datetime.fromisoformat(created).timestamp() if created else float("inf")
