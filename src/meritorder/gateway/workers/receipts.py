"""Receipts: what a batch or a request cost, exactly as the ledger has it, computed once and signed."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from meritorder import documents
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.signing import Signer
from meritorder.gateway.store.billing import capacity, quotes, receipts
from meritorder.gateway.store.billing.receipts import PlaceUse, ReplicaUse, Rows
from meritorder.gateway.store.billing.subjects import Subject
from meritorder.gateway.store.queue import batches
from meritorder.gateway.venues.venues import Venues
from meritorder.gateway.wire.usage import Usage
from meritorder.gateway.workers.capacity_meter import CapacityMeter
from meritorder.metering.capacity import Paid, PaidCapacity, PaidCommitment, Span, microseconds, spans
from meritorder.metering.sharing import prices, settled_s, share
from meritorder.metering.words import BATCH_TOKENS, MACHINE, TOKENS
from meritorder.records.accounting import Use
from meritorder.records.receipts import PendingReceipt, Receipt, ReceiptPlace, SignedReceipt
from meritorder.units import PICOUSD_PER_USD, SECONDS_PER_HOUR, exact_usd, format_count, utc

_SETTLE_S: Final = 5.0
_UNSEEN_S: Final = 60.0  # how long the end of what a subject ran on may be unknown, as while another gateway records it
_NO_SAVING: Final = (
    "real time alone was not simulated for it; `meritorder ledger --counterfactual` does so for a period"
)
_BY_TOKENS: Final = (TOKENS, BATCH_TOKENS)
_BY_CALLS: Final = "the same tokens at each venue's price of single calls"
_ListPrice = Callable[[PlaceUse], int | None]


@dataclass(slots=True)
class _MachineCost:
    """What machines cost while a subject ran on them, by venue, and how many of its attempts nothing was paid for."""

    picousd: dict[str, int]
    unpaid: dict[str, int]


class Receipts:
    """Issues the receipts of batches, and of requests outside batches.

    Args:
        context: The shared state.
        venues: The venues, with their prices.
        meter: Records what is paid by time.

    Raises:
        ConfigError: The key of receipts is there and cannot be used.
    """

    def __init__(self, context: Context, venues: Venues, meter: CapacityMeter) -> None:
        self._context = context
        self._meter = meter
        self._venues = {venue.name: venue for venue in venues.all}
        self.signer = Signer(context.settings.receipt_key)
        self.signer.check()

    async def find_request(self, tenant: str, request_id: str) -> Subject | None:
        """Return a tenant's request outside batches; None if none of that id has ended.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        await self._context.ledger_writer.flush()
        find = partial(receipts.find_request, tenant=tenant, request_id=request_id)
        ended = await self._context.database.read_soon(find)
        return None if ended is None else Subject.of_request(tenant, request_id, ended)

    async def stored(self, tenant: str, subject_id: str) -> bytes | None:
        """Return the receipt that a tenant's batch or request has; None if it has none yet.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        return await self._context.database.read_soon(partial(receipts.get, tenant=tenant, subject_id=subject_id))

    async def of(self, subject: Subject) -> bytes | None:
        """Return a receipt as JSON; None while its subject runs, or what it ran on is not settled to its end.

        Raises:
            ConfigError: The key cannot be read or created.
            StoreUnavailableError: The database cannot be reached.
        """
        context, ended_s = self._context, subject.ended_s
        stored = await self.stored(subject.tenant, subject.id)
        if stored is not None or ended_s is None:
            return stored
        await context.ledger_writer.flush()
        await self._meter.record()
        now_s = context.now_s()
        draft = partial(_draft, subject=subject, ended_s=ended_s, now_s=now_s, list_price=self._list_picousd)
        receipt = await context.database.read(draft)
        if receipt is None:
            return None
        signature = self.signer.sign(documents.encode(receipt))
        body = documents.encode(SignedReceipt(receipt=receipt, signature=signature))
        add = partial(_add, subject=subject, receipt=receipt, body=body, ended_s=ended_s, now_s=now_s)
        try:
            return await context.database.write(add)
        except IntegrityError:  # another gateway has issued it at the same moment
            return await context.database.write(add)

    async def pending(self, subject: Subject) -> PendingReceipt:
        """Return what is promised to a subject that has no receipt yet.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        quote = await self._context.database.read_soon(subject.quote)
        quoted = None if quote is None or quote.quoted_picousd is None else exact_usd(quote.quoted_picousd)
        return PendingReceipt(
            batch_id=subject.batch_id,
            request_id=subject.request_id,
            status=subject.status,
            created_at=_iso(subject.created_s),
            deadline_at=None if subject.deadline_s is None else _iso(subject.deadline_s),
            total=subject.total,
            completed=subject.completed,
            failed=subject.failed,
            quote_id=None if quote is None else quote.id,
            quoted_usd=quoted,
            is_honored=quote is not None and quote.honored,
        )

    async def run(self) -> None:
        """Issue the receipts of batches that use a quote as they end, until cancelled."""
        while True:
            await asyncio.sleep(_SETTLE_S)
            with contextlib.suppress(StoreUnavailableError):  # the database has logged it
                await self.settle()

    async def settle(self) -> None:
        """Issue the receipts of finished batches that use a quote.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        for seq in await self._context.database.read(quotes.unsettled):
            batch = await self._context.database.read(partial(batches.by_seq, seq=seq))
            if batch is not None:
                await self.of(Subject.of_batch(batch))

    def _list_picousd(self, used: PlaceUse) -> int | None:
        """Return what the tokens of a venue would cost as single calls there; None if it has no price."""
        venue = self._venues.get(used.venue or "")
        if venue is None:
            return None
        return venue.cost_picousd(
            Usage(input_tokens=used.input_tokens, cached_tokens=used.cached_tokens, output_tokens=used.output_tokens)
        )


def _add(
    connection: Connection, subject: Subject, receipt: Receipt, body: bytes, *, ended_s: float, now_s: float
) -> bytes:
    """Add a receipt and settle the quote of its batch, and return the receipt that the subject has."""
    stored = receipts.add(connection, subject.tenant, subject.id, body, now_s=now_s)
    quote = subject.quote(connection)
    if subject.batch is not None and quote is not None:
        quotes.settle(
            connection,
            quote,
            subject.batch.seq,
            paid_picousd=int(receipt.paid_usd * PICOUSD_PER_USD),
            charged_picousd=int(receipt.charged_usd * PICOUSD_PER_USD),
            ended_s=ended_s,
        )
    return stored


def _draft(
    connection: Connection, subject: Subject, *, ended_s: float, now_s: float, list_price: _ListPrice
) -> Receipt | None:
    """Return the receipt of a subject; None if its end is not settled or not recorded yet."""
    used, on = receipts.places(connection, subject.rows), receipts.replicas(connection, subject.rows)
    if now_s < max((settled_s(place.to_s) for place in on), default=now_s):
        return None
    paid = capacity.paid(connection) if on else []
    if now_s - ended_s < _UNSEEN_S and any(not _is_recorded(place, paid) for place in on):
        return None
    machines = _machine_cost(connection, subject.rows, on, paid)
    quote = subject.quote(connection)
    places = tuple(_place(place, machines.picousd, list_price(place)) for place in used)
    listed = [place.list_usd for place in places if place.attempts and place.venue]
    paid_usd = sum((place.paid_usd for place in places), Decimal(0))
    quoted_usd = None if quote is None or quote.quoted_picousd is None else exact_usd(quote.quoted_picousd)
    charged_usd = paid_usd
    if quote is not None and quote.honored and quote.quoted_picousd is not None:
        # A line without a result is not charged.
        charged_usd = exact_usd(quote.quoted_picousd * subject.completed // max(subject.total, 1))
    unlisted = [place.venue for place in places if place.venue and place.list_usd is None]
    list_usd = None if unlisted else sum((usd for usd in listed if usd is not None), Decimal(0))
    real_time_usd = list_usd if _is_by_tokens(used) else None
    saved_usd = None if real_time_usd is None else real_time_usd - paid_usd
    deadline_s = subject.deadline_s
    kept = None if deadline_s is None else subject.status == "completed" and ended_s <= deadline_s
    return Receipt(
        batch_id=subject.batch_id,
        request_id=subject.request_id,
        tenant=subject.tenant,
        model=subject.model,
        endpoint=subject.endpoint,
        status=subject.status,
        created_at=_iso(subject.created_s),
        ended_at=_iso(ended_s),
        deadline_at=None if deadline_s is None else _iso(deadline_s),
        deadline_kept=kept,
        spare_s=None if deadline_s is None else round(deadline_s - ended_s, 3),
        total=subject.total,
        completed=subject.completed,
        failed=subject.failed,
        attempts=sum(place.attempts for place in places),
        input_tokens=sum(place.input_tokens for place in places),
        cached_tokens=sum(place.cached_tokens for place in places),
        output_tokens=sum(place.output_tokens for place in places),
        lost_tokens=sum(place.lost_tokens for place in places),
        list_usd=list_usd,
        paid_usd=paid_usd,
        places=places,
        counterfactual_usd=real_time_usd,
        counterfactual_method="" if saved_usd is None else _BY_CALLS,
        saved_usd=saved_usd,
        saved_interval=None if saved_usd is None else (saved_usd, saved_usd),
        no_saving_because=_NO_SAVING if saved_usd is None else "",
        quote_id=None if quote is None else quote.id,
        quoted_usd=quoted_usd,
        charged_usd=charged_usd,
        difference_usd=charged_usd - paid_usd,
        issued_at=_iso(now_s),
        warnings=tuple(_warnings(used, machines, unlisted)),
    )


def _is_by_tokens(used: Sequence[PlaceUse]) -> bool:
    """Return whether all was paid by its tokens, each attempt at a price."""
    reached = [place for place in used if place.venue]
    return bool(reached) and all(place.price_basis in _BY_TOKENS and not place.unpriced for place in reached)


def _iso(epoch_s: float) -> str:
    return utc(epoch_s).isoformat(timespec="seconds")


def _place(used: PlaceUse, machines: Mapping[str, int], list_picousd: int | None) -> ReceiptPlace:
    is_machine = used.price_basis == MACHINE
    return ReceiptPlace(
        venue=used.venue or "",
        price_basis=used.price_basis or "",
        attempts=used.attempts,
        requests=used.requests,
        input_tokens=used.input_tokens,
        cached_tokens=used.cached_tokens,
        output_tokens=used.output_tokens,
        lost_tokens=used.lost_tokens,
        list_usd=None if list_picousd is None else exact_usd(list_picousd),
        paid_usd=exact_usd(machines.get(used.venue or "", 0) if is_machine else used.cost_picousd),
    )


def _warnings(used: Sequence[PlaceUse], machines: _MachineCost, unlisted: Sequence[str]) -> list[str]:
    unpriced = [
        f"{place.venue}: no price for {format_count(place.unpriced, 'attempt')}, counted as free"
        for place in used
        if place.venue and place.unpriced and place.price_basis != MACHINE
    ]
    unpaid = [
        f"{venue}: no paid capacity at the time of {format_count(count, 'attempt')}, counted as free"
        for venue, count in machines.unpaid.items()
        if count
    ]
    listed = [f"{', '.join(sorted(set(unlisted)))}: no price of tokens, so that there is no list price"]
    return unpriced + unpaid + (listed if unlisted else [])


def _is_recorded(place: ReplicaUse, paid: Sequence[Paid]) -> bool:
    """Return whether what a subject ran on is recorded until its last attempt there ended."""
    return any(
        record.venue == place.venue and record.started_s <= place.to_s <= record.ended_s
        for record in paid
        if isinstance(record, PaidCapacity) and place.replica in {record.replica, None}
    )


def _machine_cost(connection: Connection, own: Rows, on: Sequence[ReplicaUse], paid: Sequence[Paid]) -> _MachineCost:
    """Return what a subject's attempts cost as shares of the machines that they ran on.

    Whole hours are shared, as in the ledger, so that both round in the same way.
    """
    cost, unpaid = defaultdict[str, int](int), defaultdict[str, int](int)
    for place in on:
        from_s = place.from_s // SECONDS_PER_HOUR * SECONDS_PER_HOUR
        to_s = (place.to_s // SECONDS_PER_HOUR + 1) * SECONDS_PER_HOUR
        units = _units(place, paid, from_s, to_s)
        if not units:
            unpaid[place.venue] += place.attempts
        for replica, unit in units.items():
            attempts = receipts.attempts_on(connection, place.venue, replica, own, from_s=from_s, to_s=to_s)
            shares = share(attempts.ran, *prices(unit))
            is_own = (shares.attempt >= 0) & attempts.own[shares.attempt]
            cost[place.venue] += int(shares.picousd[is_own].sum())
    return _MachineCost(picousd=dict(cost), unpaid=dict(unpaid))


def _units(place: ReplicaUse, paid: Sequence[Paid], from_s: float, to_s: float) -> Mapping[str, list[Span]]:
    """Return the times at which requests could run on a replica, or on any of its venue if it is unknown."""
    here = [record for record in paid if record.venue == place.venue]
    serving = spans(
        [record for record in here if isinstance(record, PaidCapacity)],
        [record for record in here if isinstance(record, PaidCommitment)],
        from_us=microseconds(from_s),
        to_us=microseconds(to_s),
    )
    units: defaultdict[str, list[Span]] = defaultdict(list)
    for span in serving:
        if span.use is Use.BUSY and place.replica in {span.replica, None}:
            units[span.replica].append(span)
    return units
