"""Whether a request is sent again, and when."""

import datetime as dt
import email.utils
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meritorder.units import MS_PER_S

# Refused before it was begun, or a failure that passes. 529 is Anthropic's word for overloaded.
_PASSES: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# The venue is well; it is this client that asks too much.
_TOO_MUCH: Final = frozenset({429, 529})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """How patiently a venue is asked again.

    Args:
        attempts: Most attempts, the first among them.
        first_wait_s: Most time before the second attempt; it doubles with each.
        longest_wait_s: Most time that a request is held back for another attempt. A venue that names a later time is
            taken at its word: the request is not sent again, and the answer says when to come back.
    """

    attempts: int = 3
    first_wait_s: float = 0.5
    longest_wait_s: float = 8.0

    def wait_s(self, attempt: int, retry_after_s: float | None, draw: float) -> float | None:
        """Return how long to wait before another attempt; None if there is to be none.

        Args:
            attempt: How many attempts there were.
            retry_after_s: What the venue asks for.
            draw: A random share from 0 to 1: clients that failed together do not come back together.
        """
        if attempt >= self.attempts:
            return None
        ceiling_s = min(self.first_wait_s * 2.0 ** (attempt - 1), self.longest_wait_s)
        if retry_after_s is None:
            return ceiling_s * draw
        if retry_after_s > self.longest_wait_s:
            return None
        # Never before the time it asked for.
        return retry_after_s + draw * min(self.first_wait_s, self.longest_wait_s - retry_after_s)


def passes(status: int) -> bool:
    """Say whether an error of this HTTP status may be gone at another attempt."""
    return status in _PASSES


def is_fault(status: int) -> bool:
    """Say whether this HTTP status means that the venue is not well."""
    return status >= 500 and status not in _TOO_MUCH


def retry_after_s(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Return when a venue asks to be asked again, in seconds from now; None if it does not say.

    Args:
        headers: Of its answer.
        now: For the form of the header that is a date.

    Source: RFC 9110, 10.2.3; `retry-after-ms` of Azure OpenAI, which the official clients honour.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / MS_PER_S
    text = headers.get("Retry-After")
    if text is None or (seconds := _number(text)) is not None:
        return None if text is None else seconds
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
