"""Anthropic's Message Batches.

Source: platform.claude.com/docs, Message Batches, and the types of the official client, `anthropic` 2.12, 2026-11.
"""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from meritorder.gateway.errors import UnavailableError, checked_contract
from meritorder.gateway.upstreams.batches.provider import Provider, check, checked_id, own_id, tag_of, wire_id
from meritorder.gateway.upstreams.batches.venue import BatchLimits, BatchLine, BatchState, BatchStatus, LineResult
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.dialects.anthropic import Anthropic, version_for
from meritorder.gateway.upstreams.dialects.dialect import answered_line, failed_line, translate_line
from meritorder.gateway.upstreams.dialects.fields import Json
from meritorder.gateway.upstreams.upstream import Runtime

# Anthropic accepts 100,000 requests and 256 MB; a batch is held in memory, so ours are smaller.
LIMITS: Final = BatchLimits(max_lines=50_000, max_bytes=64 * 2**20)
_PAGE: Final = 100
_SKEW_S: Final = 300.0
_STATUS_OF_ERROR: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
Line = TypeVar("Line")
_UNFINISHED: Final = {"expired": "batch_expired", "canceled": "batch_cancelled"}


class AnthropicBatches:
    """Message Batches. See `venue.BatchVenue`.

    A batch has no name and no metadata there; only the ids of its lines identify it, which can be read only from its
    results. So a batch that may be ours and has not ended is waited for, rather than paid for twice.

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
        dialect: Anthropic | None = None,
    ) -> None:
        self.name = endpoint.name
        self.limits = limits
        self._provider = Provider(endpoint, runtime)
        self._models = models or {}
        self._dialect = dialect or Anthropic()
        self._own: set[str] = set()

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
        requests: list[Json] = [{"custom_id": wire_id(tag, line), "params": self._request(line)} for line in lines]
        batch_id = None if sent_epoch_s is None else await self._find(tag, len(lines), sent_epoch_s, known_ids)
        if batch_id is None:
            created = await self._provider.write(
                self._provider.url("/v1/messages/batches"),
                msgspec.json.encode({"requests": requests}),
                {"Content-Type": "application/json", **version_for(request["params"] for request in requests)},
            )
            with checked_contract(self.name):
                batch_id = checked_id(created["id"])
        self._own.add(batch_id)
        return batch_id

    async def _find(self, tag: str, total: int, since_epoch_s: float, known_ids: Collection[str]) -> str | None:
        """Search for our batch among the unknown ones of the same size.

        Raises:
            UnavailableError: One may be ours, but cannot be identified yet.
        """
        undecided = None
        async for batch in self._batches(since_epoch_s - _SKEW_S):
            batch_id = batch["id"]
            if batch_id in known_ids or batch_id in self._own or sum(batch["request_counts"].values()) != total:
                continue
            if batch["processing_status"] != "ended":
                undecided = batch_id
            elif batch.get("results_url") and await self._tag(batch_id) == tag:
                return str(batch_id)
        if undecided is not None:
            what = f"batch {undecided} may be the one that was submitted before: waiting until its lines can be read"
            raise UnavailableError(what, venue=self.name)
        return None

    async def _batches(self, since_epoch_s: float) -> AsyncIterator[Json]:
        """Yield the batches since a time, latest first."""
        async for page in self._provider.pages("/v1/messages/batches", _next_page, limit=_PAGE):
            with checked_contract(self.name):
                recent = [batch for batch in page["data"] if _epoch_s(batch) >= since_epoch_s]
            for batch in recent:
                yield batch
            if not recent:
                return

    async def _tag(self, batch_id: str) -> str | None:
        async for tag in self._lines(batch_id, lambda line: tag_of(line["custom_id"])):
            return tag
        return None

    async def poll(self, batch_id: str) -> BatchState:
        """Return the state of a batch; how it ended follows from the counts of its lines."""
        batch = await self._provider.read(self._provider.url(f"/v1/messages/batches/{batch_id}"))
        with checked_contract(self.name):
            counts = batch["request_counts"]
            return BatchState(
                status=_status(batch),
                total=sum(counts.values()),
                completed=counts["succeeded"],
                failed=counts["errored"],
            )

    def _lines(self, batch_id: str, read: Callable[[Json], Line]) -> AsyncIterator[Line]:
        url = self._provider.url(f"/v1/messages/batches/{batch_id}/results")
        return self._provider.decoded(url, lambda line: read(msgspec.json.decode(line, type=Json)))

    def results(self, batch_id: str, tag: str) -> AsyncIterator[LineResult]:
        """Yield the results of the lines."""
        created_s = int(self._provider.now().timestamp())
        return self._lines(
            batch_id, lambda line: self._result(own_id(line["custom_id"], tag), line["result"], created_s)
        )

    def _result(self, custom_id: str, result: Json, created_s: int) -> LineResult:
        kind = result["type"]
        if kind == "succeeded":
            return answered_line(self._dialect, custom_id, result["message"], created_s=created_s, venue=self.name)
        if kind == "errored":
            message, code, _ = self._dialect.error(result["error"])
            status = _STATUS_OF_ERROR.get(code or "", 500)
            return failed_line(custom_id, message, status=status, code=code)
        return LineResult(custom_id=custom_id, status_code=None, error_code=_UNFINISHED[kind])

    async def cancel(self, batch_id: str) -> None:
        """Ask the provider to cancel a batch."""
        await self._provider.write(self._provider.url(f"/v1/messages/batches/{batch_id}/cancel"))

    async def discard(self, batch_id: str) -> None:
        """Do nothing: its batches have no files."""

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self._provider.close()


def _next_page(page: Json) -> dict[str, str] | None:
    return {"after_id": str(page["last_id"])} if page.get("has_more") else None


def _status(batch: Json) -> BatchStatus:
    if batch["processing_status"] != "ended":
        return BatchStatus.RUNNING
    if batch["request_counts"]["canceled"]:
        return BatchStatus.CANCELLED
    return BatchStatus.EXPIRED if batch["request_counts"]["expired"] else BatchStatus.DONE


def _epoch_s(batch: Json) -> float:
    return dt.datetime.fromisoformat(batch["created_at"]).timestamp()
