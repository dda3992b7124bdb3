"""Gemini's batches of generateContent, through files.

Source: ai.google.dev/api/batch-api, ai.google.dev/api/files and the official client, `google-genai` 3.4, 2026-11.
"""

import datetime as dt
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final

import msgspec
from yarl import URL

from meritorder.gateway.errors import BrokenAnswerError
from meritorder.gateway.upstreams.batches.provider import Provider, check, of_its_api, own_id, wire_id
from meritorder.gateway.upstreams.batches.translated import answered, refused, request_of
from meritorder.gateway.upstreams.batches.venue import BatchLimits, BatchLine, BatchState, BatchStatus, LineResult
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.fields import Json
from meritorder.gateway.upstreams.gemini import Gemini, model_name
from meritorder.gateway.upstreams.upstream import Runtime

# Gemini takes files of 2 GB; ours are held in memory.
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
# google.rpc.Code, as HTTP has it.
_STATUS_OF_CODE: Final = {1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 13: 500, 14: 503, 16: 401}


class GeminiBatches:
    """Batches of generateContent. See `venue.BatchVenue`.

    Args:
        endpoint: Where it is.
        runtime: The date and random shares.
        limits: What it takes in one batch.
        models: What it calls the models, where requests call them otherwise.
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
        """Check that this API has words for all that a line says."""
        self._request(line)

    def _request(self, line: BatchLine) -> Json:
        return request_of(self._dialect, line, self._models.get(line.model, line.model), venue=self.name)

    async def submit(
        self, lines: Sequence[BatchLine], tag: str, *, sent_epoch_s: float | None, known: Collection[str] = ()
    ) -> str:
        """Submit a batch once, and return the provider's id of it."""
        check(lines, tag, self.limits)
        model = self._models.get(lines[0].model, lines[0].model)
        content = b"".join(
            msgspec.json.encode({"key": wire_id(tag, line), "request": self._request(line)}) + b"\n" for line in lines
        )
        found = None if sent_epoch_s is None else await self._find(tag, sent_epoch_s, known)
        if found is not None:
            return found
        file_name = await self._upload(content, tag)
        name = model_name(model)
        batch = {"batch": {"displayName": tag, "inputConfig": {"fileName": file_name}}}
        created = await self._provider.write(
            self._provider.url(f"/{name}:batchGenerateContent"),
            msgspec.json.encode(batch),
            {"Content-Type": "application/json"},
        )
        with of_its_api(self.name):
            return str(created["name"])

    async def _upload(self, content: bytes, tag: str) -> str:
        """Upload a file in two steps: announce it, then send it to the address that is named."""
        start = self._provider.beside("/upload" + self._provider.url("/files").path)
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
                "names no address of its own to upload to", venue=self.name
            )  # our key goes nowhere else
        uploaded = await self._provider.write(
            target, content, {"X-Goog-Upload-Offset": "0", "X-Goog-Upload-Command": "upload, finalize"}
        )
        with of_its_api(self.name):
            return str(uploaded["file"]["name"])

    async def _find(self, tag: str, since_epoch_s: float, known: Collection[str]) -> str | None:
        """Look through the batches for the one that bears our tag."""
        token: dict[str, str] = {}
        while True:
            page = await self._provider.read(self._provider.url("/batches", pageSize=_PAGE, **token))
            batches = page.get("operations") or []
            with of_its_api(self.name):
                for batch in batches:
                    if batch["metadata"].get("displayName") == tag and batch["name"] not in known:
                        return str(batch["name"])
                old = [batch for batch in batches if _epoch_s(batch) < since_epoch_s - _SKEW_S]
            if not page.get("nextPageToken") or len(old) == len(batches):
                return None
            token = {"pageToken": page["nextPageToken"]}

    async def poll(self, batch_id: str) -> BatchState:
        """Return where a batch is."""
        batch = await self._provider.read(self._provider.url(f"/{batch_id}"))
        with of_its_api(self.name):
            found = batch["metadata"]
            counts = found.get("batchStats") or {}
            state = found.get("state", "").removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
            return BatchState(
                status=_STATUS.get(state, BatchStatus.RUNNING),
                total=int(counts.get("requestCount", 0)),
                completed=int(counts.get("successfulRequestCount", 0)),
                failed=int(counts.get("failedRequestCount", 0)),
                message=(batch.get("error") or {}).get("message"),
            )

    async def results(self, batch_id: str) -> AsyncIterator[LineResult]:
        """Yield what became of the lines."""
        batch = await self._provider.read(self._provider.url(f"/{batch_id}"))
        with of_its_api(self.name):
            output = batch["metadata"].get("output") or batch.get("response") or {}
            file_name = output.get("responsesFile")
        if not file_name:
            return  # a batch that expired or was cancelled may have none
        created_s = int(self._provider.now().timestamp())
        async for line in self._provider.lines(self._provider.url(f"/{file_name}:download", alt="media")):
            with of_its_api(self.name):
                found = msgspec.json.decode(line, type=Json)
                result = self._result(own_id(found["key"]), found, created_s)
            yield result

    def _result(self, custom_id: str, found: Json, created_s: int) -> LineResult:
        if "response" in found:
            return answered(self._dialect, custom_id, found["response"], created_s=created_s, venue=self.name)
        error = found["error"]
        status = _STATUS_OF_CODE.get(error.get("code", 0), 500)
        return refused(custom_id, error.get("message", "no reason given"), status=status, code=None)

    async def cancel(self, batch_id: str) -> None:
        """Ask for a batch to be cancelled."""
        await self._provider.write(
            self._provider.url(f"/{batch_id}:cancel"), b"{}", {"Content-Type": "application/json"}
        )

    async def close(self) -> None:
        """Close what is open towards the provider."""
        await self._provider.close()


def _epoch_s(batch: Json) -> float:
    created = batch["metadata"].get("createTime")
    return dt.datetime.fromisoformat(created).timestamp() if created else float("inf")
