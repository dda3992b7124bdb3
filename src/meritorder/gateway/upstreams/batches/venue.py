"""What the gateway knows of a venue that takes many requests at a time and answers within hours."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How much a provider takes in one batch.

    Args:
        max_lines: Most lines.
        max_bytes: Most bytes of what is sent; it is held in memory once.
    """

    max_lines: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """One request of a batch, in OpenAI's form.

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
    """Where a provider's batch is. All but the first are final."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # refused as a whole: nothing ran
    EXPIRED = "expired"  # what was done in time has results
    CANCELLED = "cancelled"  # what was done before has results


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """A provider's batch, as polled.

    Args:
        status: Where it is.
        total: Lines in it; 0 while the provider has not counted.
        completed: Lines answered.
        failed: Lines answered with an error.
        message: Why it failed, in the provider's words.
    """

    status: BatchStatus
    total: int = 0
    completed: int = 0
    failed: int = 0
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineResult:
    """What became of one line.

    Args:
        custom_id: Which line.
        status_code: The HTTP status of its answer; None if it got none (`batch_expired`, `batch_cancelled`): it was not
            paid for, and may be sent again.
        body: The answer in OpenAI's form; empty if there was none.
        error_code: Why there is no answer, in OpenAI's words.
        request_id: The provider's id of the request, if it gives one.
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
        """How much it takes in one batch; larger work is cut by `upstreams.chunks`."""

    def check(self, line: BatchLine) -> None:
        """Check that this API has words for all that a line says. Raises `UnsupportedError` if not."""

    async def submit(
        self, lines: Sequence[BatchLine], tag: str, *, sent_epoch_s: float | None, known: Collection[str] = ()
    ) -> str:
        """Submit a batch once, and return the provider's id of it.

        The tag makes it safe to repeat: if a batch with this tag is there already (we crashed after it was sent, before
        we wrote its id down), its id is returned and nothing is submitted.

        Args:
            lines: Within the limits, all of one path and model.
            tag: Unique to this content, made and written down before the first attempt; at most 26 letters, digits and
                underscores.
            sent_epoch_s: When it was first sent under this tag: no older batch is looked at. None if it never was: no
                batch can be it, and none is looked at.
            known: Ids of batches that are known to be others.

        Raises:
            UnavailableError, UpstreamTimeoutError, BrokenAnswerError: It may have been submitted; call again with the
                same tag.
            RefusedError: The provider will not have it.
            UnsupportedError: A line says what this API has no word for; nothing was submitted.
        """

    async def poll(self, batch_id: str) -> BatchState:
        """Return where a batch is. Raises `UpstreamError` if the provider does not tell."""

    def results(self, batch_id: str) -> AsyncIterator[LineResult]:
        """Yield what became of the lines, in any order, once the batch is final; partial ones on expiry and cancel.

        A line that is not among them was never begun. Raises `UpstreamError` where the download breaks off.
        """

    async def cancel(self, batch_id: str) -> None:
        """Ask for a batch to be cancelled; `poll` tells when it is."""

    async def close(self) -> None:
        """Close what is open towards the provider."""
