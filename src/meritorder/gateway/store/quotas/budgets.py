"""Budgets of keys and teams.

    left = amount - spent in this period - leases - expected cost of queued calls

A gateway leases what its calls in flight may cost; a lease counts while its holder is alive. The cost of a call is
added to what is spent in the transaction that inserts its ledger row.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, union_all, update

from meritorder.gateway.store import heartbeats, keys
from meritorder.gateway.store.keys import Budget
from meritorder.gateway.store.schema import (
    BUDGET_LEASES,
    BUDGETS,
    KEYS,
    LEDGER,
    PROVIDER_BATCHES,
    QUOTES,
    REQUESTS,
)
from meritorder.policy.budgets import period_bounds

_MAX_PICOUSD: Final = 2**63 - 1  # what a column can hold
# An arbitrary lock number. With one lock for all quotas, transactions of several gateways cannot lock each other out.
_LOCK: Final = 0x71756F746173


class Charge(Protocol):
    """A ledger entry, as far as budgets are concerned."""

    @property
    def key_id(self) -> str | None: ...  # noqa: D102
    @property
    def ended_s(self) -> float: ...  # noqa: D102
    @property
    def cost_picousd(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """A budget in its current period.

    Args:
        budget: The budget.
        spent_picousd: Cost of the calls that have ended in the period.
        mine_picousd: What the holder who asks leases.
        others_picousd: What others lease, and the expected cost of queued calls.
        start_s: Start of the period, epoch seconds.
        renews_s: When it renews; None if it does not.
        exhausted_s: Since when nothing is left; None if something is.
    """

    budget: Budget
    spent_picousd: int
    mine_picousd: int = 0
    others_picousd: int = 0
    start_s: float
    renews_s: float | None
    exhausted_s: float | None

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.spent_picousd >= self.budget.amount_picousd

    @property
    def reserved_picousd(self) -> int:
        """What is reserved for calls in flight and queued."""
        return self.mine_picousd + self.others_picousd

    @property
    def left_picousd(self) -> int:
        """What is neither spent nor reserved."""
        return max(0, self.budget.amount_picousd - self.spent_picousd - self.reserved_picousd)


def lock(connection: Connection) -> None:
    """Lock the quotas until the end of the transaction; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def states(
    connection: Connection,
    budget_ids: Sequence[str] | None = None,
    *,
    now_s: float,
    holder: str = "",
    unused: Mapping[str, int] | None = None,
) -> list[BudgetState]:
    """Return budgets in their current periods.

    Args:
        connection: The transaction.
        budget_ids: The budgets; None for all.
        now_s: Epoch seconds.
        holder: The holder who asks.
        unused: What the holder gives back, by budget.
    """
    query = select(BUDGETS) if budget_ids is None else select(BUDGETS).where(BUDGETS.c.id.in_(budget_ids))
    rows = list(connection.execute(query.order_by(BUDGETS.c.id)))
    if not rows:
        return []
    ids = [row.id for row in rows]
    mine, others = dict.fromkeys(ids, 0), _promised(connection, ids)
    counting = or_(BUDGET_LEASES.c.holder == holder, BUDGET_LEASES.c.holder.in_(_live_holders()))
    for lease in connection.execute(select(BUDGET_LEASES).where(BUDGET_LEASES.c.budget_id.in_(ids), counting)):
        (mine if lease.holder == holder else others)[lease.budget_id] += lease.amount_picousd
    for budget_id, amount in (unused or {}).items():
        if budget_id in mine:
            mine[budget_id] = max(0, mine[budget_id] - amount)
    return [_state(row, now_s, mine=mine[row.id], others=others[row.id]) for row in rows]


def states_by_key(connection: Connection, key_ids: Sequence[str], *, now_s: float) -> dict[str, list[BudgetState]]:
    """Return the budgets that bound each key: its own and its team's."""
    bounded = keys.bounded_by(connection, key_ids)
    by_key: defaultdict[str, list[BudgetState]] = defaultdict(list)
    for state in states(connection, list(bounded), now_s=now_s):
        for key_id in bounded[state.budget.id]:
            by_key[key_id].append(state)
    return by_key


def spent_budget(connection: Connection, key_id: str | None, *, now_s: float) -> BudgetState | None:
    """Return a budget that bounds a key and of which nothing is left; None if there is none."""
    bounding = states_by_key(connection, [key_id], now_s=now_s).get(key_id, []) if key_id is not None else []
    return next((state for state in bounding if state.is_spent), None)


def set_lease(connection: Connection, budget_id: str, holder: str, amount_picousd: int) -> None:
    """Set what a holder leases."""
    amount_picousd = min(amount_picousd, _MAX_PICOUSD)
    mine = BUDGET_LEASES.c.budget_id == budget_id, BUDGET_LEASES.c.holder == holder
    if amount_picousd <= 0:
        connection.execute(delete(BUDGET_LEASES).where(*mine))
    elif connection.execute(update(BUDGET_LEASES).where(*mine).values(amount_picousd=amount_picousd)).rowcount == 0:
        lease = {"budget_id": budget_id, "holder": holder, "amount_picousd": amount_picousd}
        connection.execute(insert(BUDGET_LEASES).values(**lease))


def drop_void_leases(connection: Connection) -> None:
    """Delete the leases whose holders are gone."""
    connection.execute(delete(BUDGET_LEASES).where(BUDGET_LEASES.c.holder.not_in(_live_holders())))


def charge(connection: Connection, entries: Iterable[Charge]) -> None:
    """Add the cost of calls to what is spent, in the transaction that inserts their ledger rows.

    A cost counts in the period in which its call ended; a row that comes after the end of its period counts in none.
    """
    costs: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for entry in entries:
        if entry.key_id is not None and entry.cost_picousd:
            costs[entry.key_id].append((entry.ended_s, entry.cost_picousd))
    if not costs:
        return
    lock(connection)
    bounded = keys.bounded_by(connection, list(costs))
    for row in connection.execute(select(BUDGETS).where(BUDGETS.c.id.in_(list(bounded)))).all():
        ended = [cost for key_id in bounded[row.id] for cost in costs[key_id]]
        now_s = max(ended_s for ended_s, _ in ended)
        state = _state(row, now_s)
        spent = state.spent_picousd + sum(cost for ended_s, cost in ended if ended_s >= state.start_s)
        _set_spent(connection, state, max(0, min(spent, _MAX_PICOUSD)), now_s)


def set_budget(connection: Connection, budget: Budget, *, now_s: float) -> None:
    """Create or replace a budget; what was spent in its current period is counted from the ledger."""
    lock(connection)
    values = {name: getattr(budget, name) for name in Budget.__dataclass_fields__}
    start_s, renews_s = _bounds(budget, now_s)
    values |= {"period_start_s": start_s, "spent_picousd": 0, "exhausted_s": None, "announced_s": None}
    if connection.execute(update(BUDGETS).where(BUDGETS.c.id == budget.id).values(**values)).rowcount == 0:
        connection.execute(insert(BUDGETS).values(**values))
    members = select(KEYS.c.id).where(or_(KEYS.c.id == budget.id, keys.TEAM_PREFIX + KEYS.c.team == budget.id))
    query = select(func.sum(LEDGER.c.cost_picousd)).where(LEDGER.c.key_id.in_(members), LEDGER.c.ended_s >= start_s)
    quoted = select(func.sum(QUOTES.c.adjusted_picousd)).where(
        QUOTES.c.key_id.in_(members), QUOTES.c.settled_s >= start_s
    )
    spent = max(0, sum(int(connection.execute(part).scalar() or 0) for part in (query, quoted)))
    state = BudgetState(budget=budget, spent_picousd=0, start_s=start_s, renews_s=renews_s, exhausted_s=None)
    _set_spent(connection, state, min(spent, _MAX_PICOUSD), now_s)


def take_announcements(connection: Connection, *, now_s: float) -> list[BudgetState]:
    """Return the budgets whose soft limit is reached, each once a period."""
    lock(connection)
    reached = select(BUDGETS).where(
        BUDGETS.c.spent_picousd >= BUDGETS.c.amount_picousd * BUDGETS.c.soft_share,
        or_(BUDGETS.c.announced_s.is_(None), BUDGETS.c.announced_s < BUDGETS.c.period_start_s),
    )
    taken = [
        _state(row, now_s)
        for row in connection.execute(reached)
        if _bounds(_budget(row), now_s)[0] <= row.period_start_s
    ]
    for state in taken:
        announced = update(BUDGETS).where(BUDGETS.c.id == state.budget.id)
        connection.execute(announced.values(announced_s=state.start_s))
    return taken


def _set_spent(connection: Connection, state: BudgetState, spent_picousd: int, now_s: float) -> None:
    exhausted_s = None
    if spent_picousd >= state.budget.amount_picousd:
        exhausted_s = now_s if state.exhausted_s is None else state.exhausted_s
    values = {"period_start_s": state.start_s, "spent_picousd": spent_picousd, "exhausted_s": exhausted_s}
    connection.execute(update(BUDGETS).where(BUDGETS.c.id == state.budget.id).values(**values))


def _budget(row: Row[Any]) -> Budget:
    return Budget(**{name: row._mapping[name] for name in Budget.__dataclass_fields__})  # noqa: SLF001 - public name


def _state(row: Row[Any], now_s: float, *, mine: int = 0, others: int = 0) -> BudgetState:
    """Return the state of a budget: what its row says, or nothing spent if it has renewed since."""
    budget = _budget(row)
    start_s, renews_s = _bounds(budget, now_s)
    renewed = start_s > row.period_start_s  # a clock that was set back renews nothing
    return BudgetState(
        budget=budget,
        spent_picousd=0 if renewed else row.spent_picousd,
        mine_picousd=mine,
        others_picousd=others,
        start_s=start_s if renewed else row.period_start_s,
        renews_s=renews_s,
        exhausted_s=None if renewed else row.exhausted_s,
    )


def _bounds(budget: Budget, now_s: float) -> tuple[float, float | None]:
    """Return start and end of the current period, epoch seconds; a budget without a period began before all calls."""
    if budget.period is None:
        return 0.0, None
    zone = dt.UTC if budget.time_zone == "UTC" else ZoneInfo(budget.time_zone)  # machines without time zones have UTC
    start, end = period_bounds(budget.period, dt.datetime.fromtimestamp(now_s, zone))
    return start.timestamp(), end.timestamp()


def _promised(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Return the expected cost of the queued calls of each budget."""
    promised = dict.fromkeys(ids, 0)
    query = (
        select(KEYS.c.id, KEYS.c.team, func.sum(REQUESTS.c.expected_picousd))
        .join(KEYS, KEYS.c.id == REQUESTS.c.key_id)
        .where(REQUESTS.c.state == "queued", REQUESTS.c.batch_seq.is_(None))
        .where(or_(KEYS.c.id.in_(ids), (keys.TEAM_PREFIX + KEYS.c.team).in_(ids)))
        .group_by(KEYS.c.id, KEYS.c.team)
    )
    for key_id, team, expected in connection.execute(query):
        for budget_id in (key_id, keys.team_id(team or "")):
            if budget_id in promised:
                promised[budget_id] += int(expected)
    return promised


def _live_holders() -> Any:  # noqa: ANN401 - a query
    return union_all(heartbeats.alive(), select(PROVIDER_BATCHES.c.id))
