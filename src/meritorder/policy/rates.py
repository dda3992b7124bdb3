"""Rate limits that hold in every minute.

Requests and tokens are counted in buckets of a quarter of a second. A bucket counts until all of it is a minute old.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meritorder.units import SECONDS_PER_MINUTE

_BUCKETS_PER_S: Final = 4
_BUCKETS_PER_MINUTE: Final = int(_BUCKETS_PER_S * SECONDS_PER_MINUTE)


@dataclass(slots=True)
class RateBucket:
    """Requests and tokens that started in a quarter of a second; `number` counts the quarters since the epoch."""

    number: int
    requests: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """Most requests and tokens in a minute; None for no limit."""

    requests: int | None
    tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRefusal:
    """The limit, `requests` or `tokens`, that a call would exceed, and how long it must wait."""

    limit: str
    wait_s: float


def bucket_number(now_s: float) -> int:
    """Return the number of the bucket of an instant, in epoch seconds."""
    return math.floor(now_s * _BUCKETS_PER_S)


class RateWindow:
    """The last minute of a key.

    Args:
        buckets: The buckets, the oldest first.
        now_s: Epoch seconds; buckets later than now, of a clock that was set back, count as of now.
    """

    def __init__(self, buckets: Sequence[RateBucket], now_s: float) -> None:
        self._now_s = now_s
        self.newest = bucket_number(now_s)
        self.buckets = [
            RateBucket(min(bucket.number, self.newest), bucket.requests, bucket.tokens)
            for bucket in buckets
            if bucket.number >= self.newest - _BUCKETS_PER_MINUTE
        ]

    @property
    def requests(self) -> int:
        """Requests in the last minute."""
        return sum(bucket.requests for bucket in self.buckets)

    @property
    def tokens(self) -> int:
        """Tokens in the last minute."""
        return sum(bucket.tokens for bucket in self.buckets)

    @property
    def clear_s(self) -> float:
        """When nothing counts any more, epoch seconds."""
        return _expiry_s(self.buckets[-1].number) if self.buckets else self._now_s

    def calls_within(self, limit: RateLimit, calls: Sequence[tuple[int, int]]) -> tuple[int, RateRefusal | None]:
        """Return how many calls, in order, may start now, and why not the next.

        Args:
            limit: The limits.
            calls: Requests and tokens that each call counts as.
        """
        for name, per_minute, counts in (
            ("requests", limit.requests, [(bucket.number, bucket.requests) for bucket in self.buckets]),
            ("tokens", limit.tokens, [(bucket.number, bucket.tokens) for bucket in self.buckets]),
        ):
            for index, call in enumerate(calls):
                needed = call[0] if name == "requests" else call[1]
                wait_s = 0.0 if per_minute is None else self._wait_s(counts, per_minute, needed)
                if wait_s > 0:
                    count, refusal = self.calls_within(limit, calls[:index])
                    return count, refusal or RateRefusal(limit=name, wait_s=wait_s)
                counts.append((self.newest, needed))
        return len(calls), None

    def take(self, requests: int, tokens: int) -> None:
        """Count requests and tokens now."""
        if self.buckets and self.buckets[-1].number == self.newest:
            self.buckets[-1].requests += requests
            self.buckets[-1].tokens += tokens
        else:
            self.buckets.append(RateBucket(self.newest, requests, tokens))

    def give_back(self, number: int, requests: int, tokens: int) -> None:
        """Take back what was counted in a bucket and not used."""
        for bucket in self.buckets:
            if bucket.number == number:
                bucket.requests = max(0, bucket.requests - requests)
                bucket.tokens = max(0, bucket.tokens - tokens)

    def _wait_s(self, counts: Sequence[tuple[int, int]], per_minute: int, needed: int) -> float:
        """Return how long until an amount fits; one larger than the limit fits into a minute of its own."""
        excess = sum(count for _, count in counts) + min(needed, per_minute) - per_minute
        if excess <= 0 or not needed:
            return 0.0
        for number, count in counts:
            excess -= count
            if excess <= 0:
                return _expiry_s(number) - self._now_s
        return SECONDS_PER_MINUTE


def _expiry_s(number: int) -> float:
    """Return when a bucket no longer counts."""
    return (number + _BUCKETS_PER_MINUTE + 1) / _BUCKETS_PER_S
