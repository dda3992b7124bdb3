"""Whether and when a request is retried, and when a failing venue is paused."""

import datetime as dt
import email.utils
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meritorder.units import MS_PER_S

# Rejected before work began, or a transient failure. 529 is Anthropic's status for an overloaded service.
_TRANSIENT: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# The venue is healthy; this client sends too much.
_OVER_LIMIT: Final = frozenset({429, 529})
_MAX_COOLDOWN_FACTOR: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """How often and when a request is retried.

    Args:
        attempts: Most attempts, including the first.
        first_wait_s: Longest wait before the second attempt; it doubles with each further attempt.
        max_wait_s: Longest wait before any attempt. If the venue names a later time, the request is not retried and the
            answer says when to try again.
    """

    attempts: int = 3
    first_wait_s: float = 0.5
    max_wait_s: float = 8.0

    def wait_s(self, attempt: int, retry_after_s: float | None, draw: float) -> float | None:
        """Return how long to wait before another attempt; None if there is none.

        Args:
            attempt: Attempts so far.
            retry_after_s: The wait that the venue asks for; None if it asks for none.
            draw: A random number in [0, 1), so that clients that failed together do not retry together.
        """
        if attempt >= self.attempts:
            return None
        ceiling_s = min(self.first_wait_s * 2.0 ** (attempt - 1), self.max_wait_s)
        if retry_after_s is None:
            return ceiling_s * draw
        if retry_after_s > self.max_wait_s:
            return None
        # Never before the time that the venue named.
        return retry_after_s + draw * min(self.first_wait_s, self.max_wait_s - retry_after_s)


def is_transient(status: int) -> bool:
    """Tell whether a request with this error status may succeed when it is retried."""
    return status in _TRANSIENT


def is_fault(status: int) -> bool:
    """Tell whether this HTTP status means that the venue is unhealthy."""
    return status >= 500 and status not in _OVER_LIMIT


def retry_after_s(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Return the wait that a venue asks for; None if it asks for none.

    Args:
        headers: Of its answer.
        now: For a header that is a date.

    Source: RFC 9110, 10.2.3; `retry-after-ms` of Azure OpenAI, which the official clients honor.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / MS_PER_S
    text = headers.get("Retry-After")
    if text is None:
        return None
    if (seconds := _number(text)) is not None:
        return seconds
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    return max(0.0, (at - now).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


@dataclass(slots=True, kw_only=True)
class Breaker:
    """A circuit breaker: closed, open after consecutive failures, then tried with one request at a time.

    Each failed trial doubles the time until the next, up to sixteen times the first. Independently, a venue can be
    paused until a time that it named itself (`Retry-After`), which is no failure.

    Args:
        failures: Consecutive failures that open it.
        cooldown_s: Time from opening to the first trial.
    """

    failures: int = 5
    cooldown_s: float = 5.0
    failed: int = field(default=0, init=False)
    _open_until_s: float = field(default=0.0, init=False)
    _paused_until_s: float = field(default=0.0, init=False)
    _trial: bool = field(default=False, init=False)

    @property
    def is_open(self) -> bool:
        """Whether there were too many failures; one request at a time may try."""
        return self.failed >= self.failures

    def wait_s(self, now_s: float) -> float:
        """Return how long nothing may be sent; 0 if a request may go now."""
        if not self.is_open:
            return max(0.0, self._paused_until_s - now_s)
        until_s = max(self._open_until_s, self._paused_until_s)
        if until_s > now_s:
            return until_s - now_s
        return self.cooldown_s if self._trial else 0.0

    def begin(self) -> None:
        """Record that a request is sent; if the breaker is open, it is the trial."""
        if self.is_open:
            self._trial = True

    def succeed(self) -> None:
        """Record an answer that is not a fault of the venue."""
        if self.failed:
            self.failed = 0
            self._trial = False

    def fail(self, now_s: float) -> None:
        """Record a failure of the venue."""
        self.failed += 1
        self._trial = False
        if self.is_open:
            factor = min(2 ** (self.failed - self.failures), _MAX_COOLDOWN_FACTOR)
            self._open_until_s = now_s + self.cooldown_s * factor

    def leave(self) -> None:
        """Record that a request ended without evidence about the venue, such as a cancelled one."""
        self._trial = False

    def pause(self, until_s: float) -> None:
        """Send nothing before a time that the venue named."""
        self._paused_until_s = max(self._paused_until_s, until_s)
