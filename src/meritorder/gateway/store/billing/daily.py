"""What was paid by day: sums that answer for months in a moment, and that stay when ledger rows are deleted.

A day is summed once it is over, and again if a row comes later. Before its rows are deleted it is sealed: the shares in
its machines are final, and rows that come later add their tokens and counts only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, Final

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    true,
    update,
)

from meritorder.gateway.store.schema import BATCHES, CAPACITY, DAILY_COSTS, KEYS, LEDGER, LEDGER_DAYS, RECEIPTS
from meritorder.gateway.store.sql.queries import insert_rows
from meritorder.metering.capacity import US_PER_S
from meritorder.metering.sharing import Integers, Ran
from meritorder.metering.words import MACHINE, NOT_FINAL
from meritorder.records.accounting import OUTPUT_WEIGHT, Use
from meritorder.units import SECONDS_PER_DAY

GROUP: Final = ("tenant", "key_id", "workload", "lane", "model", "venue")
_LANE, _MODEL = GROUP.index("lane"), GROUP.index("model")
_READ_SIZE: Final = 10_000
_DELETE_SIZE: Final = 1000
_CLIENT_GONE: Final = 499
_BEGAN_S: Final = func.coalesce(LEDGER.c.started_s, LEDGER.c.ended_s)
WORK: Final = LEDGER.c.input_tokens + OUTPUT_WEIGHT * LEDGER.c.output_tokens
"""Work of an attempt, in input tokens."""
REPEATED: Final = case((LEDGER.c.outcome.in_(NOT_FINAL), 1), else_=0)
"""Whether another attempt of its request followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyCost:
    """One sum of a day; the fields are those of the table."""

    day: int
    tenant: str | None = None
    key_id: str | None = None
    workload: str | None = None
    lane: str | None = None
    model: str | None = None
    venue: str | None = None
    use: str
    paid_picousd: int = 0
    cost_picousd: int = 0
    requests: int = 0
    attempts: int = 0
    unpaid: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    lost_tokens: int = 0
    kept: int = 0
    missed: int = 0

    @property
    def group(self) -> tuple[str | None, ...]:
        """The values of `GROUP`."""
        return tuple(getattr(self, name) for name in GROUP)


NAMES: Final = tuple(field.name for field in fields(DailyCost))
SUMS: Final = NAMES[NAMES.index("use") + 1 :]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineAttempts:
    """The attempts on machines that overlap a day, in epoch microseconds.

    Args:
        ran: Their times, kinds and work.
        group: Index of the group of each.
        place: Index of its venue and replica.
        groups: The values of `GROUP`.
        places: Venues and replicas; None where the replica is unknown.
    """

    ran: Ran
    group: Integers
    place: Integers
    groups: Sequence[tuple[str | None, ...]]
    places: Sequence[tuple[str | None, str | None]]


def bounds_s(day: int) -> tuple[float, float]:
    """Return the start of a day, and of the next."""
    return day * SECONDS_PER_DAY, (day + 1) * SECONDS_PER_DAY


def first_day(connection: Connection) -> int | None:
    """Return the first day of the ledger; None if it is empty."""
    firsts = [
        connection.execute(select(func.min(column))).scalar() for column in (LEDGER.c.ended_s, CAPACITY.c.started_s)
    ]
    days = [int(first_s // SECONDS_PER_DAY) for first_s in firsts if first_s is not None]
    return min([*days, *summed_days(connection)[:1]], default=None)


def unsummed_days(connection: Connection, *, before: int) -> Sequence[int]:
    """Return the days before a given one that have no sums, from the first of the ledger on."""
    first, known = first_day(connection), set(summed_days(connection))
    return [day for day in range(before if first is None else first, before) if day not in known]


def summed_days(connection: Connection) -> Sequence[int]:
    """Return the days that have sums, in order."""
    return list(connection.execute(select(LEDGER_DAYS.c.day).order_by(LEDGER_DAYS.c.day)).scalars())


def sealed_until(connection: Connection) -> int | None:
    """Return the first day after those whose rows may be deleted; None if there are none."""
    last = connection.execute(select(func.max(LEDGER_DAYS.c.day)).where(LEDGER_DAYS.c.sealed_seq.is_not(None))).scalar()
    return None if last is None else last + 1


def last_seq(connection: Connection) -> int:
    """Return the number of the last row: every row that is added after this transaction has a higher one."""
    _exclude_writers(connection)
    return connection.execute(select(func.max(LEDGER.c.seq))).scalar() or 0


def machine_attempts(connection: Connection, day: int, venues: Iterable[str]) -> MachineAttempts:
    """Return the attempts on machines that overlap a day.

    Args:
        connection: The connection.
        day: The day.
        venues: The venues with paid capacity, for rows of older versions.
    """
    group_columns = [LEDGER.c[name] for name in GROUP]
    query = select(_BEGAN_S, LEDGER.c.ended_s, WORK, REPEATED, LEDGER.c.replica, *group_columns)
    query = query.where(*_overlaps(day), _on_machine(venues)).order_by(LEDGER.c.seq)
    groups: dict[tuple[str | None, ...], int] = {}
    places: dict[tuple[str | None, str | None], int] = {}
    kinds: dict[tuple[str | None, str | None], int] = {}
    pages = [np.empty((0, 7))]
    for page in connection.execution_options(yield_per=_READ_SIZE).execute(query).partitions():
        indexed = [
            (
                began_s,
                ended_s,
                work_tokens,
                repeated,
                kinds.setdefault((group[_LANE], group[_MODEL]), len(kinds)),
                groups.setdefault(tuple(group), len(groups)),
                places.setdefault((group[-1], replica), len(places)),
            )
            for began_s, ended_s, work_tokens, repeated, replica, *group in page
        ]
        pages.append(np.array(indexed, dtype=float))
    table = np.concatenate(pages)
    times_us = np.rint(table[:, :2] * US_PER_S).astype(np.int64)
    indexes = table[:, 4:].astype(np.int64)
    return MachineAttempts(
        ran=Ran.of(times_us[:, 0], times_us[:, 1], indexes[:, 0], table[:, 2], repeated=table[:, 3] > 0),
        group=indexes[:, 1],
        place=indexes[:, 2],
        groups=list(groups),
        places=list(places),
    )


def work(connection: Connection, day: int, venues: Iterable[str], *, after_seq: int = 0) -> Sequence[DailyCost]:
    """Return the attempts that ended in a day by group, and what their tokens cost; machines cost nothing here."""
    from_s, to_s = bounds_s(day)
    on_machine = _on_machine(venues)
    is_final = or_(LEDGER.c.outcome.is_(None), LEDGER.c.outcome.not_in(NOT_FINAL))
    status = func.coalesce(LEDGER.c.status_code, 0)
    promised = and_(is_final, LEDGER.c.deadline_s.is_not(None), status != _CLIENT_GONE)
    kept = and_(promised, LEDGER.c.ended_s <= LEDGER.c.deadline_s, status.between(200, 299))
    cost = func.coalesce(LEDGER.c.cost_picousd, 0)
    unpriced = and_(~on_machine, LEDGER.c.venue.is_not(None), LEDGER.c.cost_picousd.is_(None))
    values = {
        "use": case((on_machine, Use.BUSY.value), else_=Use.TOKENS.value),
        "paid_picousd": case((on_machine, 0), else_=cost),
        "cost_picousd": cost,
        "requests": case((is_final, 1), else_=0),
        "attempts": literal(1),
        "unpaid": case((unpriced, 1), else_=0),
        "input_tokens": LEDGER.c.input_tokens,
        "output_tokens": LEDGER.c.output_tokens,
        "lost_tokens": LEDGER.c.lost_tokens,
        "kept": case((kept, 1), else_=0),
        "missed": case((and_(promised, ~kept), 1), else_=0),
    }
    ended = (LEDGER.c.ended_s >= from_s, LEDGER.c.ended_s < to_s, LEDGER.c.seq > after_seq)
    rows = select(*(LEDGER.c[name] for name in GROUP), *(value.label(name) for name, value in values.items()))
    of_day = rows.where(*ended).subquery()
    names = (*GROUP, "use")
    query = select(*(of_day.c[name] for name in names), *(func.sum(of_day.c[name]) for name in SUMS))
    # PostgreSQL sums big integers as decimals.
    return [
        daily_cost(day, row[: len(names)], [int(value) for value in row[len(names) :]])
        for row in connection.execute(query.group_by(*(of_day.c[name] for name in names)))
    ]


def daily_cost(day: int, group: Sequence[Any], sums: Sequence[int] = ()) -> DailyCost:
    """Return a sum of a group with its use; sums that are left out are nothing."""
    values = dict(zip((*GROUP, "use"), group, strict=True)) | dict(zip(SUMS, sums, strict=False))
    return DailyCost(day=day, **values)


def save(connection: Connection, day: int, costs: Sequence[DailyCost], *, after_seq: int) -> bool:
    """Keep the sums of a day, unless rows after `after_seq` change them; return whether they are kept."""
    _exclude_writers(connection)
    newer = select(LEDGER.c.seq).where(LEDGER.c.seq > after_seq, *_overlaps(day)).limit(1)
    known = select(LEDGER_DAYS.c.day).where(LEDGER_DAYS.c.day == day)
    if connection.execute(newer).first() or connection.execute(known).first():
        return False
    connection.execute(insert(LEDGER_DAYS).values(day=day))
    _insert(connection, costs)
    return True


def unsum(connection: Connection, times_s: Iterable[tuple[float | None, float]]) -> None:
    """Forget the sums of days that rows with these starts and ends change, but for sealed days."""
    times = [time_s for started_s, ended_s in times_s for time_s in (started_s, ended_s) if time_s is not None]
    if not times:
        return
    first, last = (int(time_s // SECONDS_PER_DAY) for time_s in (min(times), max(times)))
    within = (LEDGER_DAYS.c.day.between(first, last), LEDGER_DAYS.c.sealed_seq.is_(None))
    changed = list(connection.execute(delete(LEDGER_DAYS).where(*within).returning(LEDGER_DAYS.c.day)).scalars())
    if changed:
        connection.execute(delete(DAILY_COSTS).where(DAILY_COSTS.c.day.in_(changed)))


def batches_without_receipt(connection: Connection, *, before: int) -> Sequence[int]:
    """Return the batches with rows before a day, and no receipt."""
    has_receipt = and_(RECEIPTS.c.subject_id == BATCHES.c.id, RECEIPTS.c.tenant == BATCHES.c.tenant)
    ended = select(LEDGER.c.batch_seq).where(
        LEDGER.c.ended_s < before * SECONDS_PER_DAY, LEDGER.c.batch_seq.is_not(None)
    )
    without = ~select(RECEIPTS.c.subject_id).where(has_receipt).exists()
    return list(connection.execute(select(BATCHES.c.seq).where(BATCHES.c.seq.in_(ended), without)).scalars())


def sealable(connection: Connection, *, before: int) -> Sequence[int]:
    """Return the summed days before a given one that are not sealed, up to the first without sums."""
    gaps = unsummed_days(connection, before=before)
    query = select(LEDGER_DAYS.c.day).where(LEDGER_DAYS.c.sealed_seq.is_(None))
    query = query.where(LEDGER_DAYS.c.day < min(gaps, default=before))
    return list(connection.execute(query.order_by(LEDGER_DAYS.c.day)).scalars())


def seal(connection: Connection, day: int) -> bool:
    """Let the rows of a day be deleted: its sums stay as they are; return whether it has some."""
    sealed = update(LEDGER_DAYS).where(LEDGER_DAYS.c.day == day, LEDGER_DAYS.c.sealed_seq.is_(None))
    return connection.execute(sealed.values(sealed_seq=last_seq(connection))).rowcount == 1


def delete_some_rows(connection: Connection, venues: Iterable[str]) -> bool:
    """Delete some rows of sealed days; return whether there were any.

    Those that came after their day was sealed are added to its sums.
    """
    first_day = connection.execute(select(func.min(LEDGER_DAYS.c.day))).scalar()
    if first_day is None:
        return False
    is_known = LEDGER.c.ended_s >= bounds_s(first_day)[0]
    first_s = connection.execute(select(func.min(LEDGER.c.ended_s)).where(is_known)).scalar()
    day = int((first_s or 0) // SECONDS_PER_DAY)
    sealed_seq = connection.execute(select(LEDGER_DAYS.c.sealed_seq).where(LEDGER_DAYS.c.day == day)).scalar()
    if sealed_seq is None:
        return False
    from_s, to_s = bounds_s(day)
    of_day = (LEDGER.c.ended_s >= from_s, LEDGER.c.ended_s < to_s)
    some = select(LEDGER.c.seq).where(*of_day, LEDGER.c.seq <= sealed_seq).limit(_DELETE_SIZE)
    if connection.execute(delete(LEDGER).where(LEDGER.c.seq.in_(some))).rowcount:
        return True
    _exclude_writers(connection)
    _insert(connection, work(connection, day, venues, after_seq=sealed_seq))
    connection.execute(delete(LEDGER).where(*of_day))
    return True


def delete_some_costs(connection: Connection, *, before: int) -> bool:
    """Delete the sums of a sealed day before a given one; return whether there was one."""
    sealed = select(LEDGER_DAYS.c.day).where(LEDGER_DAYS.c.sealed_seq.is_not(None), LEDGER_DAYS.c.day < before)
    first = select(func.min(DAILY_COSTS.c.day)).where(DAILY_COSTS.c.day.in_(sealed))
    return connection.execute(delete(DAILY_COSTS).where(DAILY_COSTS.c.day == first.scalar_subquery())).rowcount > 0


def sums(
    connection: Connection, by: Sequence[str], *, first: int, last: int, tenant: str | None = None
) -> dict[str, list[Any]]:
    """Return the sums of each day from the first to the last, of a tenant or all, by some columns, as columns.

    The team of a key is a column too. Each sum is of one day, so that 64 bits hold it.
    """
    names = ("day", *by)
    group = [KEYS.c.team if name == KEYS.c.team.name else DAILY_COSTS.c[name] for name in names]
    query = select(*group, *(func.sum(DAILY_COSTS.c[name]) for name in SUMS))
    tables = DAILY_COSTS.outerjoin(KEYS, KEYS.c.id == DAILY_COSTS.c.key_id) if "team" in by else DAILY_COSTS
    in_time = DAILY_COSTS.c.day.between(first, last)
    is_shown = true() if tenant is None else DAILY_COSTS.c.tenant == tenant
    rows = connection.execute(query.select_from(tables).where(in_time, is_shown).group_by(*group)).all()
    columns = list(zip(*rows, strict=True)) or [()] * (len(names) + len(SUMS))
    values = dict(zip((*names, *SUMS), columns, strict=True))
    # PostgreSQL sums big integers as decimals.
    return {name: [int(value) for value in column] if name in SUMS else list(column) for name, column in values.items()}


def sealed_sums(connection: Connection, by: Sequence[str]) -> dict[tuple[Any, ...], dict[str, int]]:
    """Return the sums of all sealed days by some columns."""
    until = sealed_until(connection)
    if until is None:
        return {}
    group = [DAILY_COSTS.c[name] for name in by]
    query = select(*group, *(func.sum(DAILY_COSTS.c[name]) for name in SUMS)).where(DAILY_COSTS.c.day < until)
    return {
        tuple(row[: len(by)]): {name: int(value) for name, value in zip(SUMS, row[len(by) :], strict=True)}
        for row in connection.execute(query.group_by(*group))
    }


def _insert(connection: Connection, costs: Sequence[DailyCost]) -> None:
    insert_rows(connection, DAILY_COSTS, NAMES, [astuple(cost) for cost in costs])


def _overlaps(day: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that an attempt ran, or ended, in a day."""
    from_s, to_s = bounds_s(day)
    return (LEDGER.c.ended_s >= from_s, to_s > _BEGAN_S)


def _on_machine(venues: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that an attempt is paid by the time of a machine: as recorded, else by its venue."""
    basis = func.coalesce(LEDGER.c.price_basis, "")
    by_venue = and_(LEDGER.c.venue.is_not(None), LEDGER.c.venue.in_(sorted(venues)))
    return case((basis != "", basis == MACHINE), else_=by_venue)


def _exclude_writers(connection: Connection) -> None:
    """Let no row be added to the ledger until the end of this transaction; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {LEDGER.name} IN SHARE ROW EXCLUSIVE MODE"))
