"""What this gateway has leased of budgets and rates, and what its calls in flight reserve of it."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.quotas.admission import AdmittedCalls, Demand, Unused
from meritorder.gateway.wire.quotas import RateUse
from meritorder.policy.rates import bucket_number


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
        """Count what the first so many observed entries have cost as spent: they are in the store."""
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
    """The calls of a key: those that wait, and what its rate limits have to spare.

    Args:
        key: The key, as last seen.
        waiting: Calls that wait, in order of arrival.
        freed: Set when calls end.
        queueing: Held by the call that waits to be queued.
        serving: The task that admits the waiting calls.
        bucket: The bucket of what is spare.
        spare_requests: Requests that may start in it without asking the store.
        spare_tokens: The same in tokens.
        used: What the store has counted in the last minute, with what is spare.
        blocked_until_s: Until when its queued requests are not tried again, monotonic.
        blocked_by_calls: Whether they may start sooner, when other calls end.
    """

    key: Key
    waiting: deque[WaitingCall] = field(default_factory=deque)
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    queueing: asyncio.Lock = field(default_factory=asyncio.Lock)
    serving: "asyncio.Task[None] | None" = None
    bucket: int = 0
    spare_requests: int = 0
    spare_tokens: int = 0
    used: RateUse = field(default_factory=RateUse)
    blocked_until_s: float = 0.0
    blocked_by_calls: bool = False

    def fits_rates(self, demand: Demand, now_s: float) -> bool:
        """Tell whether a call fits into what the rate limits have to spare now."""
        key = self.key
        if not key.has_rates:
            return True
        if self.bucket != bucket_number(now_s):
            return False
        fits_requests = key.requests_per_minute is None or self.spare_requests >= demand.requests
        return fits_requests and (key.tokens_per_minute is None or self.spare_tokens >= demand.tokens)

    def take(self, demand: Demand) -> None:
        """Count a call as one of the spare ones."""
        self.spare_requests -= demand.requests
        self.spare_tokens -= demand.tokens

    def take_back(self) -> Unused:
        """Return what was spare and not used."""
        unused = Unused(leases={}, bucket=self.bucket, requests=self.spare_requests, tokens=self.spare_tokens)
        self.spare_requests = self.spare_tokens = 0
        return unused

    def apply(self, admitted: AdmittedCalls) -> None:
        """Take over what an admission says about rates."""
        if admitted.window is not None:
            window = admitted.window
            self.bucket = window.newest
            self.spare_requests, self.spare_tokens = admitted.spare_requests, admitted.spare_tokens
            self.used = RateUse(requests=window.requests, tokens=window.tokens, clear_s=window.clear_s)

    def current_use(self) -> RateUse:
        """Return what was used in the last minute."""
        return RateUse(
            requests=self.used.requests - max(0, self.spare_requests),
            tokens=self.used.tokens - max(0, self.spare_tokens),
            clear_s=self.used.clear_s,
        )
