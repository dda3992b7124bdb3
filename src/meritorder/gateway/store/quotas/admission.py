"""Admission of calls by the budgets and rates of their key, in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from sqlalchemy import Connection, insert, select, update

from meritorder.gateway.store.keys import Key, Rates
from meritorder.gateway.store.quotas import budgets
from meritorder.gateway.store.quotas.budgets import BudgetState
from meritorder.gateway.store.schema import RATE_WINDOWS
from meritorder.policy.budgets import calls_within_budget
from meritorder.policy.rates import RateBucket, RateLimit, RateRefusal, RateWindow

_SPARE_CALLS: Final = 1000
_SPARE_SHARE: Final = 32  # of what is left; so near a limit every call asks the store
_BUCKETS: Final = msgspec.json.Decoder(list[tuple[int, int, int]])


class Demand(msgspec.Struct, frozen=True, gc=False):
    """What a call asks of the quotas of its key: what it counts as, and the most that it is expected to cost."""

    requests: int = 1
    tokens: int = 0
    cost_picousd: int = 0


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call may not start: a budget without enough left, or a rate limit, and whose it is."""

    budget: BudgetState | None = None
    rate: RateRefusal | None = None
    rates: Rates | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """What a gateway gives back: of its leases by budget, and of its spare rates by their id."""

    leases: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, RateBucket] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmittedRates:
    """What an admission says about rate limits.

    Args:
        spare: Requests and tokens that further calls may use while their bucket lasts.
        window: The last minute, with what was taken now.
    """

    spare: RateBucket
    window: RateWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmittedCalls:
    """The outcome of an admission.

    Args:
        accepted: How many calls may start.
        refusal: Why the next may not; None if all may.
        leased: What was added to the lease of each budget, for these calls and to spare.
        rates: The state of each rate limit.
    """

    accepted: int
    refusal: Refusal | None
    leased: Mapping[str, int]
    rates: Mapping[str, AdmittedRates]


NOTHING: Final = Unused()


def admit(
    connection: Connection,
    holder: str,
    key: Key,
    demands: Sequence[Demand],
    *,
    now_s: float,
    unused: Unused = NOTHING,
    to_spare: bool = False,
) -> AdmittedCalls:
    """Admit calls in order, as many as the budgets and rates of their key permit, and lease what they need.

    Args:
        connection: The transaction.
        holder: Who leases it: a gateway or a provider batch.
        key: The key of the calls.
        demands: What each call needs.
        now_s: Epoch seconds.
        unused: What the holder gives back first.
        to_spare: Whether to lease some more for further calls.
    """
    budgets.lock(connection)
    costs = [demand.cost_picousd for demand in demands]
    accepted, refusal = len(demands), None
    bounding = _states(connection, holder, key, unused, now_s)
    for state in bounding:
        count = _within(state, costs[:accepted])
        if count < accepted:
            accepted, refusal = count, Refusal(budget=state)
    windows = {rates: _read_window(connection, rates.id, unused, now_s) for rates in key.rates}
    calls = [(demand.requests, demand.tokens) for demand in demands[:accepted]]
    wait_s = 0.0
    for rates, window in windows.items():
        count, rate_refusal = window.calls_within(rates.limit, calls)
        # The error names the limit that takes longest to free up.
        if rate_refusal is not None and (count < accepted or (count == accepted and rate_refusal.wait_s > wait_s > 0)):
            accepted, wait_s, refusal = count, rate_refusal.wait_s, Refusal(rate=rate_refusal, rates=rates)
    total, most = sum(costs[:accepted]), max(costs, default=0)
    to_spare = to_spare and refusal is None
    leased = {state.budget.id: total + (_spare(state, total, most) if to_spare else 0) for state in bounding}
    for state in bounding:
        budgets.set_lease(connection, state.budget.id, holder, state.mine_picousd + leased[state.budget.id])
    admitted = {}
    for rates, window in windows.items():
        taken = demands[:accepted]
        window.take(sum(demand.requests for demand in taken), sum(demand.tokens for demand in taken))
        spare = _spare_rates(rates.limit, window) if to_spare else RateBucket(window.newest, 0, 0)
        window.take(spare.requests, spare.tokens)
        _write_window(connection, rates.id, window)
        admitted[rates.id] = AdmittedRates(spare=spare, window=window)
    return AdmittedCalls(accepted=accepted, refusal=refusal, leased=leased, rates=admitted)


def refuse_queued(connection: Connection, key: Key, cost_picousd: int, *, now_s: float) -> Refusal | None:
    """Return why a call may not be queued; None if it may: its expected cost is reserved while it is queued."""
    budgets.lock(connection)
    for state in _states(connection, "", key, NOTHING, now_s):
        if not _within(state, [cost_picousd]):
            return Refusal(budget=state)
    return None


def give_back_rates(connection: Connection, unused: Unused, *, now_s: float) -> None:
    """Give back requests and tokens that were taken to spare."""
    for rates_id in unused.rates:
        _write_window(connection, rates_id, _read_window(connection, rates_id, unused, now_s))


def _states(connection: Connection, holder: str, key: Key, unused: Unused, now_s: float) -> list[BudgetState]:
    if not key.budgets:
        return []
    ids = [budget.id for budget in key.budgets]
    return budgets.states(connection, ids, now_s=now_s, holder=holder, unused=unused.leases)


def _within(state: BudgetState, costs: Sequence[int]) -> int:
    return calls_within_budget(
        costs, budget=state.budget.amount_picousd, spent=state.spent_picousd, reserved=state.reserved_picousd
    )


def _spare(state: BudgetState, taken_picousd: int, most_picousd: int) -> int:
    """Return what to lease for further calls: a small share of what is left."""
    return max(0, min((state.left_picousd - taken_picousd) // _SPARE_SHARE, _SPARE_CALLS * most_picousd))


def _spare_rates(limit: RateLimit, window: RateWindow) -> RateBucket:
    requests = 0 if limit.requests is None else (limit.requests - window.requests) // _SPARE_SHARE
    tokens = 0 if limit.tokens is None else (limit.tokens - window.tokens) // _SPARE_SHARE
    return RateBucket(window.newest, max(0, requests), max(0, tokens))


def _read_window(connection: Connection, rates_id: str, unused: Unused, now_s: float) -> RateWindow:
    query = select(RATE_WINDOWS.c.buckets).where(RATE_WINDOWS.c.id == rates_id)
    stored = connection.execute(query).scalar()
    window = RateWindow([RateBucket(*bucket) for bucket in _BUCKETS.decode(stored or b"[]")], now_s)
    if (bucket := unused.rates.get(rates_id)) is not None:
        window.give_back(bucket.number, bucket.requests, bucket.tokens)
    return window


def _write_window(connection: Connection, rates_id: str, window: RateWindow) -> None:
    rows = msgspec.json.encode([(bucket.number, bucket.requests, bucket.tokens) for bucket in window.buckets])
    same = RATE_WINDOWS.c.id == rates_id
    if connection.execute(update(RATE_WINDOWS).where(same).values(buckets=rows)).rowcount == 0:
        connection.execute(insert(RATE_WINDOWS).values(id=rates_id, buckets=rows))
