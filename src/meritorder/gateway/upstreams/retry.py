"""Whether and when a request is retried, and when a failing venue is paused."""

import contextlib
import datetime as dt
import email.utils
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meritorder.units import MS_PER_S

# Rejected before work began, or a transient failure. 529 is Anthropic's status for an overloaded service.
_TRANSIENT: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# The venue is healthy; this client sends too much.
_OVER_LIMIT: Final = frozenset({429, 529})
_MAX_COOLDOWN_FACTOR: Final = 16

MAX_RETRY_AFTER_S: Final = 60.0
"""Longest wait that a venue can ask for; after it, one request tries."""


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
    """Return the wait that a venue asks for, up to `MAX_RETRY_AFTER_S`; None if it asks for none.

    Args:
        headers: Of its answer.
        now: For a header that is a date.

    Source: RFC 9110, 10.2.3; `retry-after-ms` of Azure OpenAI, which the official clients honor.
    """
    text = headers.get("Retry-After", "")
    wait_s = _number(headers.get("retry-after-ms", ""), 1 / MS_PER_S)
    if wait_s is None:
        wait_s = _number(text, 1.0)
    if wait_s is None:
        wait_s = _wait_until(text, now)
    return None if wait_s is None else min(wait_s, MAX_RETRY_AFTER_S)


def _number(text: str, unit: float) -> float | None:
    try:
        number = float(text) * unit
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _wait_until(date: str, now: dt.datetime) -> float | None:
    # The parser raises errors of many kinds, such as for the year 0 or a zone of 99 hours.
    with contextlib.suppress(Exception):
        at = email.utils.parsedate_to_datetime(date)
        return max(0.0, (at.replace(tzinfo=at.tzinfo or dt.UTC) - now).total_seconds())
    return None


_BROKEN_BY_REQUEST: Final = 500
_ALIVE_S: Final = 3.0  # less than a request's attempts take: a venue that breaks down cannot use them up


@dataclass(slots=True, kw_only=True)
class Breaker:
    """A circuit breaker: closed, open after consecutive failures, then tried with one request at a time.

    Each failed trial doubles the time until the next, up to sixteen times the first. An answer 500 from a venue that
    answers others is no failure: it is the request that breaks it. Independently, a venue is paused
    until a time that it named itself (`Retry-After`), which is no failure; if it named the longest time possible or
    more, one request at a time tries afterwards.

    Args:
        failures: Consecutive failures that open it.
        cooldown_s: Time from opening to the first trial.
    """

    failures: int = 5
    cooldown_s: float = 5.0
    failed: int = field(default=0, init=False)
    _open_until_s: float = field(default=0.0, init=False)
    _paused_until_s: float = field(default=0.0, init=False)
    _long_pause: bool = field(default=False, init=False)
    _trial: object | None = field(default=None, init=False)
    _succeeded_s: float = field(default=-math.inf, init=False)

    @property
    def is_open(self) -> bool:
        """Whether there were too many failures; one request at a time may try."""
        return self.failed >= self.failures

    def wait_s(self, now_s: float) -> float:
        """Return how long nothing may be sent; 0 if a request may go now."""
        until_s = max(self._open_until_s if self.is_open else 0.0, self._paused_until_s)
        if until_s > now_s:
            return until_s - now_s
        return self.cooldown_s if self.is_on_trial and self._trial is not None else 0.0

    @property
    def is_on_trial(self) -> bool:
        """Whether one request at a time tries if the venue is back."""
        return self.is_open or self._long_pause

    def begin(self, attempt: object) -> None:
        """Record that an attempt begins; it may be the trial."""
        if self.is_on_trial:
            self._trial = attempt

    def leave(self, attempt: object) -> None:
        """Record that an attempt has ended, with whatever outcome; another may be the trial."""
        if self._trial is attempt:
            self._trial = None

    def succeed(self, now_s: float) -> None:
        """Record an answer that is not a fault of the venue."""
        self.failed, self._succeeded_s = 0, now_s
        if self._trial is not None:
            self._long_pause = False

    def fail(self, now_s: float, status: int | None = None) -> None:
        """Record a failure of the venue, with the status that it answered; None for no answer."""
        if status == _BROKEN_BY_REQUEST and not self.is_open and now_s - self._succeeded_s < _ALIVE_S:
            return
        self.failed += 1
        if self.is_open:
            factor = min(2 ** (self.failed - self.failures), _MAX_COOLDOWN_FACTOR)
            self._open_until_s = now_s + self.cooldown_s * factor

    def pause(self, now_s: float, wait_s: float) -> None:
        """Send nothing for a time that the venue named."""
        self._paused_until_s = max(self._paused_until_s, now_s + wait_s)
        self._long_pause = wait_s >= MAX_RETRY_AFTER_S


@dataclass(frozen=True, slots=True)
class Breakers:
    """The two circuit breakers that a request passes.

    Args:
        connections: The venue's, for what could not be sent there at all, and for pauses that it asked for.
        answers: The tenant's, for what was sent and got no proper answer: it may be the requests that break the venue.
    """

    connections: Breaker
    answers: Breaker

    @property
    def is_open(self) -> bool:
        """Whether there were too many failures."""
        return self.connections.is_open or self.answers.is_open

    @property
    def is_on_trial(self) -> bool:
        """Whether one request at a time tries if the venue is back."""
        return self.connections.is_on_trial or self.answers.is_on_trial

    @property
    def failed(self) -> int:
        """Consecutive failures."""
        return max(self.connections.failed, self.answers.failed)

    def wait_s(self, now_s: float) -> float:
        """Return how long nothing may be sent; 0 if a request may go now."""
        return max(self.connections.wait_s(now_s), self.answers.wait_s(now_s))

    def begin(self, attempt: object) -> None:
        """Record that an attempt begins; it may be the trial of either."""
        self.connections.begin(attempt)
        self.answers.begin(attempt)

    def leave(self, attempt: object) -> None:
        """Record that an attempt has ended, with whatever outcome."""
        self.connections.leave(attempt)
        self.answers.leave(attempt)

    def succeed(self, now_s: float) -> None:
        """Record an answer that is not a fault of the venue."""
        self.connections.succeed(now_s)
        self.answers.succeed(now_s)
