"""Rate limits of a venue, and their current use."""

from dataclasses import dataclass, field

from meritorder.units import SECONDS_PER_MINUTE


@dataclass(slots=True, kw_only=True)
class Bucket:
    """A token bucket with the capacity of one minute, full at first.

    An amount larger than the bucket may pass when it is full, and leaves a debt.

    Args:
        per_minute: Rate at which it refills.
    """

    per_minute: float
    _level: float = field(init=False)
    _at_s: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._level = self.per_minute

    def wait_s(self, amount: float, now_s: float) -> float:
        """Return how long until an amount may be taken; 0 if it may be taken now."""
        self._fill(now_s)
        missing = min(amount, self.per_minute) - self._level
        return max(0.0, missing * SECONDS_PER_MINUTE / self.per_minute)

    def take(self, amount: float, now_s: float) -> None:
        """Take an amount; a negative one returns what was not used."""
        self._fill(now_s)
        self._level = min(self._level - amount, self.per_minute)

    def _fill(self, now_s: float) -> None:
        # A clock that was set back refills nothing.
        if now_s > self._at_s:
            inflow = (now_s - self._at_s) * self.per_minute / SECONDS_PER_MINUTE
            self._level = min(self._level + inflow, self.per_minute)
        self._at_s = now_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Limits of a venue; None is unlimited.

    Args:
        concurrency: Requests at one time.
        requests_per_minute: Requests started.
        tokens_per_minute: Estimated tokens of the requests started.
    """

    concurrency: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


class RateMeter:
    """Current use of a venue's limits."""

    __slots__ = ("_concurrency", "_requests", "_tokens", "in_flight")

    def __init__(self, limits: RateLimits) -> None:
        self._concurrency = limits.concurrency
        self._requests = Bucket(per_minute=limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens = Bucket(per_minute=limits.tokens_per_minute) if limits.tokens_per_minute else None
        self.in_flight = 0

    @property
    def full(self) -> bool:
        """Whether the concurrency limit is reached."""
        return self._concurrency is not None and self.in_flight >= self._concurrency

    def wait_s(self, tokens: int, now_s: float) -> float:
        """Return how long the rate limits delay a request; 0 if not at all."""
        wait_s = 0.0
        if self._requests is not None:
            wait_s = self._requests.wait_s(1, now_s)
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.wait_s(tokens, now_s))
        return wait_s

    def enter(self) -> None:
        """Count a request in."""
        self.in_flight += 1

    def take(self, tokens: int, now_s: float) -> None:
        """Charge a request to the rate limits."""
        if self._requests is not None:
            self._requests.take(1, now_s)
        if self._tokens is not None:
            self._tokens.take(tokens, now_s)

    def leave(self) -> None:
        """Count a request out."""
        self.in_flight -= 1
