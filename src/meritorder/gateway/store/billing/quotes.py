"""Quotes: what they are made from, what a batch was offered for, which batch took the offer, and what it cost."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import Connection, delete, func, insert, select, update

from meritorder.gateway.store.billing.daily import REPEATED, WORK
from meritorder.gateway.store.queue.batches import Batch
from meritorder.gateway.store.quotas import budgets
from meritorder.gateway.store.schema import BATCHES, FILES, LEDGER, QUOTES
from meritorder.metering.capacity import US_PER_S
from meritorder.metering.expected import Attempts, PastJob
from meritorder.metering.sharing import Ran
from meritorder.metering.words import MACHINE
from meritorder.records.receipts import SettledQuote
from meritorder.units import SECONDS_PER_DAY

_MAX_ATTEMPTS: Final = 1000
_MAX_READ: Final = 20_000  # attempts of all venues, among which those of one are looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQuote:
    """One quote.

    Args:
        id: Its id.
        tenant: Who asked for it.
        input_file_id: The file that it is for.
        body: The answer, as JSON.
        created_s: When it was made, epoch seconds.
        valid_until_s: Until when a batch may use it.
        batch_id: The batch that uses it; None if none does.
        key_id: The key of that batch.
        quoted_picousd: What that batch was quoted.
        honored: Whether the batch is charged that.
        paid_picousd: What it cost; None until it is settled.
    """

    id: str
    tenant: str
    input_file_id: str
    body: bytes
    created_s: float
    valid_until_s: float
    batch_id: str | None = None
    key_id: str | None = None
    quoted_picousd: int | None = None
    honored: bool = False
    paid_picousd: int | None = None


_COLUMNS = tuple(QUOTES.c[name] for name in StoredQuote.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Adjustment:
    """What budgets are charged beside ledger rows."""

    key_id: str | None
    ended_s: float
    cost_picousd: int | None


def add(connection: Connection, quote: StoredQuote) -> None:
    """Add a quote, and forget those that nothing has used and that expired a day ago."""
    expired = QUOTES.c.valid_until_s < quote.created_s - SECONDS_PER_DAY
    connection.execute(delete(QUOTES).where(QUOTES.c.batch_id.is_(None), expired))
    connection.execute(insert(QUOTES).values({name: getattr(quote, name) for name in quote.__dataclass_fields__}))


def get(connection: Connection, tenant: str, quote_id: str) -> StoredQuote | None:
    """Return a tenant's quote."""
    row = connection.execute(select(*_COLUMNS).where(QUOTES.c.id == quote_id, QUOTES.c.tenant == tenant)).first()
    return StoredQuote(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's public name


def of_batch(connection: Connection, tenant: str, batch_id: str) -> StoredQuote | None:
    """Return the quote that a batch uses."""
    query = select(*_COLUMNS).where(QUOTES.c.tenant == tenant, QUOTES.c.batch_id == batch_id)
    row = connection.execute(query).first()
    return StoredQuote(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's public name


def use(connection: Connection, quote_id: str, batch: Batch, *, quoted_picousd: int, honored: bool) -> bool:
    """Let a batch use a quote, and return whether it may: once, while the quote is valid."""
    free = (QUOTES.c.id == quote_id, QUOTES.c.batch_id.is_(None), QUOTES.c.valid_until_s >= batch.created_s)
    values = {"batch_id": batch.id, "key_id": batch.key_id, "quoted_picousd": quoted_picousd, "honored": honored}
    return connection.execute(update(QUOTES).where(*free).values(**values)).rowcount > 0


def settle(
    connection: Connection,
    quote: StoredQuote,
    batch_seq: int,
    *,
    paid_picousd: int,
    charged_picousd: int,
    ended_s: float,
) -> None:
    """Record what the batch of a quote cost and is charged, and charge that to the budgets of its key if honored."""
    adjusted = charged_picousd - _of_rows(connection, batch_seq) if quote.honored else 0
    amounts = {"paid_picousd": paid_picousd, "charged_picousd": charged_picousd, "adjusted_picousd": adjusted}
    open_quote = (QUOTES.c.id == quote.id, QUOTES.c.paid_picousd.is_(None))
    if connection.execute(update(QUOTES).where(*open_quote).values(**amounts, settled_s=ended_s)).rowcount:
        budgets.charge(connection, [_Adjustment(key_id=quote.key_id, ended_s=ended_s, cost_picousd=adjusted)])


def unsettled(connection: Connection) -> list[int]:
    """Return the batches that use a quote and whose cost is not recorded."""
    query = select(BATCHES.c.seq).where(
        BATCHES.c.tenant == QUOTES.c.tenant, BATCHES.c.id == QUOTES.c.batch_id, QUOTES.c.paid_picousd.is_(None)
    )
    return list(connection.execute(query).scalars())


def settled(connection: Connection, *, from_s: float, to_s: float) -> list[SettledQuote]:
    """Return the quotes of the batches that ended in a period and whose cost is known."""
    columns = (QUOTES.c[name] for name in SettledQuote.__dataclass_fields__)
    query = select(*columns).where(QUOTES.c.settled_s >= from_s, QUOTES.c.settled_s < to_s)
    return [SettledQuote(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name


def _of_rows(connection: Connection, batch_seq: int) -> int:
    """Return what the budgets of a batch's key were charged for its ledger rows."""
    query = select(func.sum(LEDGER.c.cost_picousd)).where(LEDGER.c.batch_seq == batch_seq)
    return int(connection.execute(query).scalar() or 0)


def past_jobs(connection: Connection, tenant: str, model: str, endpoint: str, *, limit: int) -> list[PastJob]:
    """Return the latest completed batches of a tenant, model and endpoint."""
    of_batch = (BATCHES.c.done, BATCHES.c.limit_tokens, BATCHES.c.input_tokens, BATCHES.c.output_tokens)
    query = (
        select(FILES.c.bytes, *of_batch)
        .join(FILES, (FILES.c.tenant == BATCHES.c.tenant) & (FILES.c.id == BATCHES.c.input_file_id))
        .where(
            BATCHES.c.tenant == tenant,
            BATCHES.c.model == model,
            BATCHES.c.endpoint == endpoint,
            BATCHES.c.status == "completed",
            BATCHES.c.failed == 0,
            BATCHES.c.done > 0,
        )
        .order_by(BATCHES.c.seq.desc())
        .limit(limit)
    )
    names = PastJob.__dataclass_fields__
    return [PastJob(**dict(zip(names, row, strict=True))) for row in connection.execute(query)]


def latest_attempts(connection: Connection, venue: str, model: str, lane: str) -> Attempts:
    """Return the latest attempts on machines of a venue, of all models; a lane that has none there is any lane."""
    columns = ("venue", "price_basis", "started_s", "ended_s", "replica", "lane", "model")
    selected = select(*(LEDGER.c[name] for name in columns), WORK.label("work"), REPEATED.label("repeated"))
    latest = selected.order_by(LEDGER.c.ended_s.desc()).limit(_MAX_READ).subquery()
    here = (latest.c.venue == venue, latest.c.price_basis == MACHINE, latest.c.started_s.is_not(None))
    query = select(*(latest.c[name] for name in (*columns[2:], "work", "repeated"))).where(*here)
    rows = connection.execute(query.order_by(latest.c.ended_s.desc()).limit(_MAX_ATTEMPTS)).all()
    starts_s, ends_s, replicas, lanes, models, work, again = zip(*rows, strict=True) if rows else [()] * 7
    starts_us, ends_us = (np.rint(np.array(times_s) * US_PER_S).astype(np.int64) for times_s in (starts_s, ends_s))
    kinds = dict[tuple[str, str], int]()
    kind = [kinds.setdefault(both, len(kinds)) for both in zip(lanes, models, strict=True)]
    repeated = np.array(again, dtype=np.bool_)
    work_tokens, of_model = np.array(work, dtype=np.float64), np.array(models, dtype=np.str_) == model
    in_lane = of_model & (np.array(lanes, dtype=np.str_) == lane)
    return Attempts(
        replica=np.array([replica or "" for replica in replicas], dtype=np.str_),
        ran=Ran.of(starts_us, ends_us, np.array(kind, dtype=np.int64), work_tokens, repeated=repeated),
        work_tokens=np.where(repeated, 0.0, work_tokens),
        own=in_lane if in_lane.any() else of_model,
    )
