"""Quotas of API keys: calls reserve what they may cost before they start, and settle when they end.

Most calls are admitted from what this gateway has leased from the store to spare; near a limit every call asks the
store. A call that fits into its budget only when others have ended waits for them, in order of arrival.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from sqlalchemy import Connection

from meritorder.gateway.state.clock import wait_until_set
from meritorder.gateway.state.reservations import (
    UNLIMITED,
    BudgetLease,
    KeyCalls,
    Reservation,
    SpareRates,
    Spending,
    WaitingCall,
)
from meritorder.gateway.store.database import Change, Database
from meritorder.gateway.store.keys import Key, Rates
from meritorder.gateway.store.queue import requests
from meritorder.gateway.store.queue.requests import ClaimedRequest
from meritorder.gateway.store.quotas import admission, budgets
from meritorder.gateway.store.quotas.admission import AdmittedCalls, Demand, Refusal, Unused
from meritorder.gateway.wire.quotas import RateUse, quota_error, rate_headers
from meritorder.policy.rates import bucket_number

T = TypeVar("T")

_PATIENCE_S: Final = 10.0  # of a call that waits for others of its key to end
_POLL_S: Final = 0.2  # the calls that it waits for may be another gateway's
_SPENT_POLL_S: Final = 1.0  # a limit may be raised, or a budget renew
_MAX_ASKED: Final = 256
_MAX_WAITING: Final = 10_000


class Quotas:
    """The quotas of keys.

    Args:
        database: The store.
        holder: Id of this gateway.
        now_s: Returns the current epoch seconds.
        spending: The leases, and what the ledger has charged to them.
        store_ledger: Stores the pending ledger entries now.
    """

    def __init__(
        self,
        database: Database,
        holder: str,
        now_s: Callable[[], float],
        spending: Spending,
        store_ledger: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._holder = holder
        self._now_s = now_s
        self._find_key = spending.find_key
        self._store_ledger = store_ledger
        self._leases = spending.leases
        self._rates: defaultdict[str, SpareRates] = defaultdict(SpareRates)
        self._calls: dict[str, KeyCalls] = {}
        self.unblocked: list[Callable[[], None]] = []

    async def admit(self, key: Key, demand: Demand) -> Reservation:
        """Reserve what a call needs; while other calls have reserved what is left of a budget, it waits for them.

        Raises:
            ApiError: A limit is reached; tells when to retry.
            StoreUnavailableError: The key has limits, and the store cannot be reached.
        """
        if not key.has_quotas:
            return UNLIMITED
        calls = self._calls_of(key)
        if not calls.waiting and self._fits(calls, demand):
            self._take(calls, demand)
            return self._reserve(calls, demand.cost_picousd)
        if len(calls.waiting) >= _MAX_WAITING:
            raise quota_error(Refusal(), now_s=self._now_s())
        outcome: asyncio.Future[Reservation] = asyncio.get_running_loop().create_future()
        calls.waiting.append(WaitingCall(demand, outcome, time.monotonic() + _PATIENCE_S))
        if calls.serving is None:
            calls.serving = asyncio.create_task(self._serve(calls))
        try:
            return await outcome
        except asyncio.CancelledError:
            if outcome.done() and not outcome.cancelled() and outcome.exception() is None:
                outcome.result().close()
            raise

    async def queue(
        self,
        key: Key,
        cost_picousd: int,
        add: Callable[[Connection], T],
        undo: Callable[[T], Change] | None = None,
    ) -> T:
        """Add a call to the queue, where its expected cost is reserved; for what others have reserved it waits.

        Args:
            key: The key of the call.
            cost_picousd: Its expected cost.
            add: Adds it.
            undo: Returns the change that removes it, if it is added too late.

        Raises:
            ApiError: What is left of a budget is spent, or reserved for too long.
            StoreUnavailableError: The store cannot be reached.
        """
        if not key.budgets:
            return await self._database.write_soon(add, undo)
        until_s = time.monotonic() + _PATIENCE_S
        queued = await self._queue(key, cost_picousd, add, undo)
        if isinstance(queued, Refusal) and not _is_final(queued):
            async with self._calls_of(key).queueing:  # one asks again and again, in order of arrival
                queued = await self._queue(key, cost_picousd, add, undo)
                while isinstance(queued, Refusal) and not _is_final(queued) and time.monotonic() < until_s:
                    await asyncio.sleep(_POLL_S)
                    queued = await self._queue(key, cost_picousd, add, undo)
        if isinstance(queued, Refusal):
            raise quota_error(queued, now_s=self._now_s())
        return queued

    async def _queue(
        self, key: Key, cost_picousd: int, add: Callable[[Connection], T], undo: Callable[[T], Change] | None
    ) -> T | Refusal:
        now_s = self._now_s()

        def change(connection: Connection) -> T | Refusal:
            return admission.refuse_queued(connection, key, cost_picousd, now_s=now_s) or add(connection)

        def undo_added(added: T | Refusal) -> Change:
            return (lambda _: None) if undo is None or isinstance(added, Refusal) else undo(added)

        return await self._database.write_soon(change, undo_added)

    async def check_spent(self, key: Key) -> None:
        """Check that something is left of the budgets of a key.

        Raises:
            ApiError: A budget is spent.
        """
        if key.budgets:
            now_s = self._now_s()
            state = await self._database.read_soon(
                lambda connection: budgets.spent_budget(connection, key.id, now_s=now_s)
            )
            if state is not None:
                raise quota_error(Refusal(budget=state), now_s=now_s)

    async def claim(
        self, key_id: str | None, claim: Callable[[Connection], list[ClaimedRequest]]
    ) -> list[tuple[ClaimedRequest, Reservation]]:
        """Claim queued requests of a key, as many as its quotas permit, and reserve what they need.

        Raises:
            StoreUnavailableError: The store cannot be reached.
        """
        key = self._find_key(key_id)
        if key is None or not key.has_quotas:
            return [(request, UNLIMITED) for request in await self._database.write(claim)]
        calls = self._calls_of(key)

        def change(connection: Connection, unused: Unused) -> tuple[list[ClaimedRequest], AdmittedCalls]:
            claimed = claim(connection)
            admitted = self._admit_claimed(connection, self._holder, key, claimed, unused)
            return claimed[: admitted.accepted], admitted

        claimed, admitted = await self._change(calls, change, self._database.write)
        if admitted.refusal is not None:
            self._block(calls, admitted.refusal)
        return [(request, self._reserve(calls, request.expected_picousd)) for request in claimed]

    def claim_for_provider(self, connection: Connection, batch_id: str, claimed: Sequence[ClaimedRequest]) -> int:
        """Return how many claimed requests of one key its quotas permit; their provider batch leases what they need."""
        key = self._find_key(claimed[0].key_id) if claimed else None
        if key is None or not key.has_quotas:
            return len(claimed)
        return self._admit_claimed(connection, batch_id, key, claimed, admission.NOTHING).accepted

    def blocked(self) -> frozenset[str]:
        """Return the keys whose queued requests may not start now."""
        now_s = time.monotonic()
        return frozenset(key_id for key_id, calls in self._calls.items() if calls.blocked_until_s > now_s)

    def rate_headers(self, key: Key) -> tuple[tuple[str, str], ...]:
        """Return the headers on the rate limits of a key and its team."""
        return rate_headers(self._rate_uses(key), self._now_s())

    async def give_back(self) -> None:
        """Reduce the leases to what is in use, also those that a lost answer of the store has left too large."""
        now_s, holder = self._now_s(), self._holder
        quiet = {budget_id: lease for budget_id, lease in self._leases.items() if not lease.changing}
        for lease in quiet.values():
            lease.shrink()
        amounts = {budget_id: lease.leased for budget_id, lease in quiet.items() if lease.written != lease.leased}
        old = {
            rates_id: spare
            for rates_id, spare in self._rates.items()
            if (spare.bucket.requests or spare.bucket.tokens) and spare.bucket.number != bucket_number(now_s)
        }
        if not amounts and not old:
            return
        unused = Unused(rates={rates_id: spare.take_back() for rates_id, spare in old.items()})

        def change(connection: Connection) -> None:
            budgets.lock(connection)
            for budget_id, amount in amounts.items():
                budgets.set_lease(connection, budget_id, holder, amount)
            admission.give_back_rates(connection, unused, now_s=now_s)

        for budget_id in amounts:
            quiet[budget_id].changing += 1
        try:
            await self._database.write(change)
            for budget_id, amount in amounts.items():
                quiet[budget_id].written = amount if quiet[budget_id].changing == 1 else None
        finally:
            for budget_id in amounts:
                quiet[budget_id].changing -= 1

    def _calls_of(self, key: Key) -> KeyCalls:
        calls = self._calls.get(key.id)
        if calls is None:
            calls = self._calls[key.id] = KeyCalls(key)
        calls.key = key
        return calls

    def _leases_of(self, key: Key) -> list[BudgetLease]:
        return [self._leases[budget.id] for budget in key.budgets]

    def _fits(self, calls: KeyCalls, demand: Demand) -> bool:
        """Tell whether a call fits into what this gateway has to spare."""
        now_s = self._now_s()
        return all(self._rates[rates.id].fits(rates, demand, now_s) for rates in calls.key.rates) and all(
            lease.free >= demand.cost_picousd for lease in self._leases_of(calls.key)
        )

    def _take(self, calls: KeyCalls, demand: Demand) -> None:
        for rates in calls.key.rates:
            self._rates[rates.id].take(demand)

    def _rate_uses(self, key: Key) -> list[tuple[Rates, RateUse]]:
        return [(rates, self._rates[rates.id].current_use()) for rates in key.rates]

    def _reserve(self, calls: KeyCalls, cost_picousd: int) -> Reservation:
        return Reservation(self._leases_of(calls.key), cost_picousd, lambda: self._release(calls))

    def _release(self, calls: KeyCalls) -> None:
        calls.freed.set()
        if calls.blocked_by_calls:
            calls.blocked_by_calls, calls.blocked_until_s = False, 0.0
            for notify in self.unblocked:
                notify()

    def _block(self, calls: KeyCalls, refusal: Refusal) -> None:
        """Do not try queued requests of a key again until its quotas may permit them."""
        wait_s = _SPENT_POLL_S if _is_final(refusal) else _POLL_S
        if refusal.rate is not None:
            wait_s = min(wait_s, refusal.rate.wait_s)
        calls.blocked_until_s = time.monotonic() + wait_s
        calls.blocked_by_calls = refusal.rate is None

    async def _serve(self, calls: KeyCalls) -> None:
        """Admit the waiting calls of a key, in order of arrival."""
        try:
            while calls.waiting:
                calls.freed.clear()
                refusal = await self._admit_waiting(calls)
                if refusal is None:
                    continue
                self._refuse(calls, refusal, until_s=float("inf") if _is_final(refusal) else time.monotonic())
                if calls.waiting and any(lease.pending for lease in self._leases_of(calls.key)):
                    await self._store_ledger()  # what has ended is settled before more is reserved
                elif calls.waiting:
                    await wait_until_set(calls.freed, _POLL_S)
        except Exception as error:  # noqa: BLE001 - raised to every call that waits
            while calls.waiting:
                calls.waiting.popleft().fail(error)
        finally:
            calls.serving = None

    async def _admit_waiting(self, calls: KeyCalls) -> Refusal | None:
        """Admit the first of the waiting calls, by the store if need be; return why the next may not start."""
        while calls.waiting:
            first = calls.waiting[0]
            if not first.outcome.done():  # else its client has disconnected
                if not self._fits(calls, first.demand):
                    break
                self._take(calls, first.demand)
                first.outcome.set_result(self._reserve(calls, first.demand.cost_picousd))
            calls.waiting.popleft()
        asked = [waiting for _, waiting in zip(range(_MAX_ASKED), calls.waiting, strict=False)]
        if not asked:
            return None
        key, demands, now_s = calls.key, [waiting.demand for waiting in asked], self._now_s()

        def change(connection: Connection, unused: Unused) -> tuple[None, AdmittedCalls]:
            admitted = admission.admit(
                connection, self._holder, key, demands, now_s=now_s, unused=unused, to_spare=True
            )
            return None, admitted

        _, admitted = await self._change(calls, change, self._database.write_soon)
        for waiting in asked[: admitted.accepted]:
            calls.waiting.popleft()
            reservation = self._reserve(calls, waiting.demand.cost_picousd)
            if waiting.outcome.done():
                reservation.close()
            else:
                waiting.outcome.set_result(reservation)
        return admitted.refusal

    def _refuse(self, calls: KeyCalls, refusal: Refusal, *, until_s: float) -> None:
        """Refuse the calls that were to wait no longer than this."""
        while calls.waiting and calls.waiting[0].until_s <= until_s:
            error = quota_error(refusal, now_s=self._now_s(), uses=self._rate_uses(calls.key))
            calls.waiting.popleft().fail(error)

    async def _change(
        self,
        calls: KeyCalls,
        change: Callable[[Connection, Unused], tuple[T, AdmittedCalls]],
        write: Callable[[Callable[[Connection], tuple[T, AdmittedCalls]]], Awaitable[tuple[T, AdmittedCalls]]],
    ) -> tuple[T, AdmittedCalls]:
        """Admit calls of a key in the store, which first takes back all that is not in use."""
        leases = {budget.id: self._leases[budget.id] for budget in calls.key.budgets}
        unused = Unused(
            leases={budget_id: lease.shrink() for budget_id, lease in leases.items()},
            rates={rates.id: self._rates[rates.id].take_back() for rates in calls.key.rates},
        )
        for lease in leases.values():
            lease.changing += 1
            lease.written = None
        try:
            outcome, admitted = await write(lambda connection: change(connection, unused))
        finally:
            for lease in leases.values():
                lease.changing -= 1
        for budget_id, amount in admitted.leased.items():
            if budget_id in leases:
                leases[budget_id].leased += amount
        for rates_id, rates in admitted.rates.items():
            self._rates[rates_id].apply(rates)
        return outcome, admitted

    def _admit_claimed(
        self, connection: Connection, holder: str, key: Key, claimed: Sequence[ClaimedRequest], unused: Unused
    ) -> AdmittedCalls:
        demands = [_demand(request) for request in claimed]
        admitted = admission.admit(connection, holder, key, demands, now_s=self._now_s(), unused=unused)
        requests.unclaim(connection, [request.seq for request in claimed[admitted.accepted :]])
        return admitted


def _is_final(refusal: Refusal) -> bool:
    """Tell whether a refusal does not change when other calls end."""
    return refusal.budget is None or refusal.budget.is_spent


def _demand(request: ClaimedRequest) -> Demand:
    """Return what a queued request needs: a call, and a line that is sent again, were counted before."""
    if request.batch_seq is None or request.attempt > 1:
        return Demand(requests=0, tokens=0, cost_picousd=request.expected_picousd)
    return Demand(tokens=request.input_tokens + request.output_tokens, cost_picousd=request.expected_picousd)
