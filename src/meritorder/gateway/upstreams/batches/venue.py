"""The interface of a batch API: many requests at a time, answered within hours."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """Limits of one batch at a provider.

    Args:
        max_lines: Most lines.
        max_bytes: Largest size in bytes; a batch is held in memory.
    """

    max_lines: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """One request of a batch, in OpenAI's format.

    Args:
        custom_id: Unique in its batch; at most 32 letters, digits and underscores.
        path: Such as `/v1/chat/completions`.
        model: The model that the body names.
        body: JSON.
    """

    custom_id: str
    path: str
    model: str
    body: bytes


class BatchStatus(StrEnum):
    """The status of a provider's batch. All but the first are final."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # rejected as a whole; nothing ran
    EXPIRED = "expired"  # lines done in time have results
    CANCELLED = "cancelled"  # lines done before have results


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """The state of a provider's batch.

    Args:
        status: Its status.
        total: Number of lines; 0 until the provider has counted them.
        completed: Lines answered.
        failed: Lines answered with an error.
        message: The provider's reason for a failure.
    """

    status: BatchStatus
    total: int = 0
    completed: int = 0
    failed: int = 0
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineResult:
    """The result of one line.

    Args:
        custom_id: Id of the line.
        status_code: HTTP status of its answer; None without one (`batch_expired`, `batch_cancelled`): the line was not
            charged and may be sent again.
        body: The answer in OpenAI's format; empty without one.
        error_code: OpenAI's code for why there is no answer.
        request_id: The provider's id of the request, if any.
    """

    custom_id: str
    status_code: int | None
    body: bytes = b""
    error_code: str | None = None
    request_id: str | None = None


class BatchVenue(Protocol):
    """A provider's batch API."""

    @property
    def name(self) -> str:
        """The venue's name in the configuration."""

    @property
    def limits(self) -> BatchLimits:
        """Limits of one batch."""

    def check(self, line: BatchLine) -> None:
        """Check that the API can express a line. Raises `UnsupportedError` if it cannot."""

    async def submit(
        self, lines: Sequence[BatchLine], tag: str, *, sent_epoch_s: float | None, known_ids: Collection[str] = ()
    ) -> str:
        """Submit a batch once and return the provider's id.

        The tag makes repeated calls safe: if the provider already has a batch with this tag, because a crash came after
        the submission and before its id was recorded, that id is returned and nothing is submitted.

        Args:
            lines: Within the limits, all of one path and model.
            tag: Unique to this content and recorded before the first attempt; at most 26 letters, digits and
                underscores.
            sent_epoch_s: When it was first sent under this tag: older batches are not searched. None if it never was:
                no batch is searched.
            known_ids: Ids of other batches of the venue.

        Raises:
            UnavailableError, UpstreamTimeoutError, BrokenAnswerError: It may have been submitted; call again with the
                same tag.
            RefusedError: The provider rejects it.
            UnsupportedError: The API cannot express a line; nothing was submitted.
        """

    async def poll(self, batch_id: str) -> BatchState:
        """Return the state of a batch. Raises `UpstreamError` if the provider does not answer."""

    def results(self, batch_id: str, tag: str) -> AsyncIterator[LineResult]:
        """Yield the results of a final batch in any order; partial ones after expiry or cancellation.

        Lines that were not submitted under the tag are skipped. Raises `UpstreamError` if the download breaks off.
        """

    async def cancel(self, batch_id: str) -> None:
        """Ask the provider to cancel a batch; `poll` shows when it is."""

    async def discard(self, batch_id: str) -> None:
        """Delete the input file of a batch that the provider refused."""

    async def close(self) -> None:
        """Close the connections to the provider."""


async def grouped(results: AsyncIterator[LineResult], size: int) -> AsyncIterator[list[LineResult]]:
    """Yield results in groups of a size as they arrive; the last may be smaller."""
    group: list[LineResult] = []
    async for result in results:
        group.append(result)
        if len(group) >= size:
            yield group
            group = []
    if group:
        yield group
