"""What this gateway has leased of budgets and rates, and what its calls in flight reserve of it."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.keys import Key, Rates
from meritorder.gateway.store.quotas.admission import AdmittedRates, Demand
from meritorder.gateway.wire.quotas import RateUse
from meritorder.policy.rates import RateBucket, bucket_number


@dataclass(slots=True)
class BudgetLease:
    """What this gateway leases of a budget, in picodollars.

    Args:
        leased: As stored.
        reserved: For calls in flight.
        pending: Cost of ended calls whose ledger rows are not stored yet.
        settled: Cost that is stored as spent: a part of the lease that must not be used again.
        changing: Number of changes of the stored lease in progress.
        written: What the store is known to have; None after a change.
    """

    leased: int = 0
    reserved: int = 0
    pending: int = 0
    settled: int = 0
    changing: int = 0
    written: int | None = None

    @property
    def free(self) -> int:
        """What further calls may reserve."""
        return self.leased - self.reserved - self.pending - self.settled

    def shrink(self) -> int:
        """Reduce the lease to what is in use; return by how much."""
        in_use = self.reserved + self.pending
        unused = self.leased - in_use
        self.leased = in_use
        self.settled = max(0, self.settled - max(0, unused)) if self.reserved else 0
        return unused


@dataclass(slots=True)
class SpareRates:
    """What this gateway may start of rate limits without asking the store.

    Args:
        bucket: Requests and tokens, in the quarter of a second for which they were taken.
        used: What the store has counted in the last minute, with what is spare.
    """

    bucket: RateBucket = field(default_factory=lambda: RateBucket(0, 0, 0))
    used: RateUse = field(default_factory=RateUse)

    def fits(self, rates: Rates, demand: Demand, now_s: float) -> bool:
        """Tell whether a call fits into what is spare now."""
        bucket = self.bucket
        return (
            bucket.number == bucket_number(now_s)
            and (rates.requests_per_minute is None or bucket.requests >= demand.requests)
            and (rates.tokens_per_minute is None or bucket.tokens >= demand.tokens)
        )

    def take(self, demand: Demand) -> None:
        """Count a call as one of the spare ones."""
        self.bucket.requests -= demand.requests
        self.bucket.tokens -= demand.tokens

    def take_back(self) -> RateBucket:
        """Return what was spare and not used."""
        bucket = self.bucket
        self.bucket = RateBucket(bucket.number, 0, 0)
        return bucket

    def apply(self, admitted: AdmittedRates) -> None:
        """Take over what an admission says; what another one has added in the same bucket stays."""
        spare, window = admitted.spare, admitted.window
        if self.bucket.number == spare.number:
            self.bucket.requests += spare.requests
            self.bucket.tokens += spare.tokens
        else:
            self.bucket = spare
        self.used = RateUse(requests=window.requests, tokens=window.tokens, clear_s=window.clear_s)

    def current_use(self) -> RateUse:
        """Return what was used in the last minute."""
        return RateUse(
            requests=self.used.requests - max(0, self.bucket.requests),
            tokens=self.used.tokens - max(0, self.bucket.tokens),
            clear_s=self.used.clear_s,
        )


class Spending:
    """The leases of budgets, and what ledger entries charge to them.

    Args:
        find_key: Returns a key by its id, also a revoked one.
    """

    def __init__(self, find_key: Callable[[str | None], Key | None]) -> None:
        self.find_key = find_key
        self._pending: deque[tuple[int, BudgetLease, int]] = deque()
        self.leases: defaultdict[str, BudgetLease] = defaultdict(BudgetLease)
        self.observed = 0

    def observe(self, entry: LedgerEntry, *, stored: bool) -> None:
        """Count the cost of a ledger entry, which is in the store already or will be."""
        self.observed += 1
        key = self.find_key(entry.key_id) if entry.cost_picousd else None
        for budget in () if key is None else key.budgets:
            lease, cost_picousd = self.leases[budget.id], entry.cost_picousd or 0
            if stored:
                lease.settled += cost_picousd
            else:
                lease.pending += cost_picousd
                self._pending.append((self.observed, lease, cost_picousd))

    def settle(self, count: int) -> None:
        """Count the cost of the first `count` observed entries as spent: they are in the store."""
        while self._pending and self._pending[0][0] <= count:
            _, lease, cost_picousd = self._pending.popleft()
            lease.pending -= cost_picousd
            lease.settled += cost_picousd


class Reservation:
    """What a call in flight reserves; a context manager that releases it."""

    __slots__ = ("_amount", "_leases", "_released")

    def __init__(self, leases: Sequence[BudgetLease], amount_picousd: int, released: Callable[[], None]) -> None:
        self._leases = leases
        self._amount = amount_picousd
        self._released = released
        for lease in leases:
            lease.reserved += amount_picousd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release it, once; by now the cost of the call is in its ledger entry."""
        if self._leases:
            for lease in self._leases:
                lease.reserved -= self._amount
            self._leases = ()
            self._released()


UNLIMITED: Final = Reservation((), 0, lambda: None)
"""The reservation of a call without limits."""


@dataclass(slots=True)
class WaitingCall:
    """A call that waits until a time, monotonic."""

    demand: Demand
    outcome: "asyncio.Future[Reservation]"
    until_s: float

    def fail(self, error: Exception) -> None:
        """Refuse it, if its client still waits."""
        if not self.outcome.done():
            self.outcome.set_exception(error)


@dataclass(slots=True)
class KeyCalls:
    """The calls of a key that wait.

    Args:
        key: The key, as last seen.
        waiting: Calls that wait, in order of arrival.
        freed: Set when calls end.
        queueing: Held by the call that waits to be queued.
        serving: The task that admits the waiting calls.
        blocked_until_s: Until when its queued requests are not tried again, monotonic.
        blocked_by_calls: Whether they may start sooner, when other calls end.
    """

    key: Key
    waiting: deque[WaitingCall] = field(default_factory=deque)
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    queueing: asyncio.Lock = field(default_factory=asyncio.Lock)
    serving: "asyncio.Task[None] | None" = None
    blocked_until_s: float = 0.0
    blocked_by_calls: bool = False
