"""When a venue that fails is left alone, and when it is tried again."""

from dataclasses import dataclass, field
from typing import Final

_LONGEST_WAIT_FACTOR: Final = 16


@dataclass(slots=True, kw_only=True)
class Breaker:
    """A circuit breaker: closed, open after failures in a row, and then tried with one request at a time.

    Each failed trial doubles the time until the next, up to sixteen times the first. Apart from that a venue can be
    paused until a time that it named itself (`Retry-After`): that is no failure.

    Args:
        failures: In a row, that open it.
        cooldown_s: From opening to the first trial.
    """

    failures: int = 5
    cooldown_s: float = 5.0
    failed: int = field(default=0, init=False)
    _open_until_s: float = field(default=0.0, init=False)
    _paused_until_s: float = field(default=0.0, init=False)
    _trial: bool = field(default=False, init=False)

    @property
    def is_open(self) -> bool:
        """Whether it has failed too often; one request at a time may try."""
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
        """Note that a request goes; if the breaker is open, it is the trial."""
        if self.is_open:
            self._trial = True

    def succeed(self) -> None:
        """Note an answer that was no fault of the venue."""
        if self.failed:
            self.failed = 0
            self._trial = False

    def fail(self, now_s: float) -> None:
        """Note a failure of the venue."""
        self.failed += 1
        self._trial = False
        if self.is_open:
            factor = min(2 ** (self.failed - self.failures), _LONGEST_WAIT_FACTOR)
            self._open_until_s = now_s + self.cooldown_s * factor

    def leave(self) -> None:
        """Note that a request ended without telling anything of the venue: it was called off."""
        self._trial = False

    def pause(self, until_s: float) -> None:
        """Send nothing before a time that the venue named."""
        self._paused_until_s = max(self._paused_until_s, until_s)
