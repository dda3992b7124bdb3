"""The ledger: one row for each attempt at a request, the last of which was answered, rejected or discarded.

It can be read as a trace.

An entry that no column can take, such as one with 10¹⁸ tokens, is set aside with the reason.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from sqlalchemy import ColumnElement, Connection, case, delete, func, insert, or_, select, update
from sqlalchemy.exc import InterfaceError, OperationalError

from meritorder.gateway.store.billing import daily
from meritorder.gateway.store.quotas import budgets
from meritorder.gateway.store.schema import JOURNALS, KEYS, LEDGER, LEDGER_REJECTED
from meritorder.gateway.store.sql.queries import insert_rows
from meritorder.metering.words import NOT_FINAL

_TOTALS: Final = ("requests", "input_tokens", "output_tokens", "lost_tokens", "cost_picousd")
_READ_SIZE: Final = 10_000
_MAX_REASON: Final = 500
_NUL: Final = b"\\u0000"  # as JSON has it; no database takes it in a text
_Tokens = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One row. Times are epoch seconds.

    The row of an answer has in `lost_tokens` what its earlier attempts had generated and discarded; attempts that were
    preempted or failed have rows of their own, with the time that they took and no tokens.
    """

    request_id: str
    arrived_s: float
    started_s: float | None
    ended_s: float
    ttft_s: float | None
    lane: str
    tenant: str
    key_id: str | None
    model: str
    endpoint: str
    venue: str | None
    batch_id: str | None = None
    workload: str | None = None
    deadline_s: float | None = None
    status_code: Annotated[int, Meta(ge=0, le=999)] | None
    input_tokens: _Tokens
    cached_tokens: _Tokens = 0
    output_tokens: _Tokens
    lost_tokens: _Tokens = 0
    counted: bool
    cost_picousd: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    request_seq: int | None = None
    batch_seq: int | None = None
    attempt: int = 1
    replica: str | None = None
    outcome: str | None = None
    reasoning_tokens: _Tokens = 0
    price_basis: str | None = None


_NAMES: Final = LedgerEntry.__struct_fields__
TEAM: Final = "team"
"""Name of the column with the team of a row's key, as it is now."""
EXPORTED: Final = (*_NAMES, TEAM)
_WITH_KEYS: Final = LEDGER.outerjoin(KEYS, KEYS.c.id == LEDGER.c.key_id)


_DECODER: Final = msgspec.json.Decoder(LedgerEntry)


class InvalidEntryError(Exception):
    """An entry that no row can hold; it is set aside."""


def encode(entry: LedgerEntry) -> bytes:
    """Return an entry as one line of JSON; what cannot be encoded as a JSON string that says what it was."""
    try:
        return msgspec.json.encode(entry)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return msgspec.json.encode(repr(entry).encode(errors="replace").decode())


def decode(line: bytes) -> LedgerEntry:
    """Return the entry of a line.

    Raises:
        InvalidEntryError: Its values do not fit the columns of the ledger; the message has the reason.
    """
    try:
        entry = _DECODER.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidEntryError(str(error)[:_MAX_REASON]) from None
    if _NUL in line:
        raise InvalidEntryError("a text contains NUL")
    return entry


def add(connection: Connection, entries: Iterable[LedgerEntry]) -> int:
    """Add rows; set aside the entries that are invalid, and return how many."""
    return add_lines(connection, [encode(entry) for entry in entries])


def add_lines(connection: Connection, lines: Sequence[bytes]) -> int:
    """Add a row for each encoded entry; set aside the lines that are invalid, and return how many."""
    entries: list[LedgerEntry] = []
    rejected: list[tuple[bytes, str]] = []
    for line in lines:
        try:
            entries.append(decode(line))
        except InvalidEntryError as error:
            rejected.append((line, str(error)))
    rejected += _insert(connection, entries)
    if rejected:
        insert_rows(connection, LEDGER_REJECTED, ("entry", "reason"), rejected)
    return len(rejected)


def _insert(connection: Connection, entries: Sequence[LedgerEntry]) -> list[tuple[bytes, str]]:
    """Insert entries and charge their cost to budgets, together or, if that fails, each alone.

    Returns:
        Those that the database refuses, and why.
    """
    savepoint = connection.begin_nested()
    try:
        insert_rows(connection, LEDGER, _NAMES, [msgspec.structs.astuple(entry) for entry in entries])
        budgets.charge(connection, entries)
        daily.unsum(connection, ((entry.started_s, entry.ended_s) for entry in entries))
        savepoint.commit()
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # noqa: BLE001 - an entry that breaks us is set aside alone
        savepoint.rollback()
        if len(entries) == 1:
            return [(encode(entries[0]), str(error)[:_MAX_REASON])]
        return [refused for entry in entries for refused in _insert(connection, [entry])]
    return []


def rejected(connection: Connection) -> int:
    """Return the number of entries that were set aside."""
    return connection.execute(select(func.count()).select_from(LEDGER_REJECTED)).scalar_one()


def journal_position(connection: Connection, journal_id: str) -> int | None:
    """Return up to where the entries of a journal are in the ledger; None if it has none there."""
    return connection.execute(select(JOURNALS.c.position).where(JOURNALS.c.id == journal_id)).scalar()


def add_from_journal(connection: Connection, journal_id: str, lines: Sequence[bytes], *, start: int, end: int) -> int:
    """Add the lines between two positions of a journal, once; return up to where its entries are in the ledger now."""
    position = journal_position(connection, journal_id)
    if position is None:
        connection.execute(insert(JOURNALS).values(id=journal_id, position=end))
    elif position == start:
        connection.execute(update(JOURNALS).where(JOURNALS.c.id == journal_id).values(position=end))
    else:
        return position  # an earlier attempt, whose confirmation was lost, has added some
    add_lines(connection, lines)
    return end


def forget_journal(connection: Connection, journal_id: str) -> None:
    """Forget a journal whose file is gone."""
    connection.execute(delete(JOURNALS).where(JOURNALS.c.id == journal_id))


def rows(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield the columns of `EXPORTED` in the order in which the rows were written."""
    last = 0
    while True:
        query = select(LEDGER, KEYS.c.team).select_from(_WITH_KEYS).where(LEDGER.c.seq > last)
        page = connection.execute(query.order_by(LEDGER.c.seq).limit(_READ_SIZE))
        count = 0
        for row in page:
            count += 1
            last = row.seq
            yield {name: row._mapping[name] for name in EXPORTED}  # noqa: SLF001 - SQLAlchemy's public name for it
        if count == 0:
            return


def cost_by_key(connection: Connection) -> dict[str, int]:
    """Return what the calls of each key have cost, those in deleted rows included."""
    query = select(LEDGER.c.key_id, func.sum(LEDGER.c.cost_picousd)).where(LEDGER.c.key_id.is_not(None))
    costs: defaultdict[str, int] = defaultdict(int)
    for key_id, cost in connection.execute(query.where(_is_kept(connection)).group_by(LEDGER.c.key_id)):
        costs[key_id] += int(cost or 0)
    for (key_id,), sums in daily.sealed_sums(connection, ("key_id",)).items():
        if key_id is not None:
            costs[key_id] += sums["cost_picousd"]
    return dict(costs)


def _is_kept(connection: Connection) -> ColumnElement[bool]:
    """Return the condition that a row is of a day whose rows are all there."""
    return LEDGER.c.ended_s >= daily.bounds_s(daily.sealed_until(connection) or 0)[0]


def columns(connection: Connection, names: Sequence[str], *, from_s: float, to_s: float) -> dict[str, list[Any]]:
    """Return columns of the rows that overlap a period, in the order in which they were written; `TEAM` is one too."""
    chosen = [KEYS.c.team if name == TEAM else LEDGER.c[name] for name in names]
    began_s = func.coalesce(LEDGER.c.started_s, LEDGER.c.ended_s)
    rows_of = _WITH_KEYS if TEAM in names else LEDGER
    query = select(*chosen).select_from(rows_of).where(LEDGER.c.ended_s >= from_s, began_s < to_s)
    # An expression keeps SQLite from reading the whole table in its order for the sake of a short period.
    order = LEDGER.c.seq + 0 if from_s > 0 else LEDGER.c.seq
    pages: list[list[Any]] = [[] for _ in names]
    for page in connection.execution_options(yield_per=_READ_SIZE).execute(query.order_by(order)).partitions():
        for column, values in zip(pages, zip(*page, strict=True), strict=True):
            column.extend(values)
    return dict(zip(names, pages, strict=True))


def totals(connection: Connection) -> list[dict[str, Any]]:
    """Return requests, tokens and cost by lane, model and venue, those in deleted rows included."""
    by = (LEDGER.c.lane, LEDGER.c.model, LEDGER.c.venue)
    names = tuple(column.name for column in by)
    is_last = or_(LEDGER.c.outcome.is_(None), LEDGER.c.outcome.not_in(NOT_FINAL))
    query = select(
        *by,
        func.sum(case((is_last, 1), else_=0)).label("requests"),
        *(func.sum(LEDGER.c[name]).label(name) for name in _TOTALS[1:]),
    ).where(_is_kept(connection))
    # PostgreSQL sums big integers as decimals.
    rows = {
        tuple(row[: len(by)]): [None if value is None else int(value) for value in row[len(by) :]]
        for row in connection.execute(query.group_by(*by))
    }
    for group, sums in daily.sealed_sums(connection, names).items():
        if group[0] is None:
            continue  # it belongs to no attempt
        earlier = rows.get(group, [None] * len(_TOTALS))
        rows[group] = [sums[name] + (value or 0) for name, value in zip(_TOTALS, earlier, strict=True)]
    ordered = sorted(rows.items(), key=lambda row: [value or "" for value in row[0]])
    return [dict(zip((*names, *_TOTALS), (*group, *values), strict=True)) for group, values in ordered]
