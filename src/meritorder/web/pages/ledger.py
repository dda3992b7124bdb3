"""Ledger and proof: what was paid, for what, and what it saved against real time alone."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import polars as pl
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from meritorder import documents
from meritorder.errors import MeritorderError
from meritorder.metering.capacity import Paid
from meritorder.records.accounting import LedgerReport
from meritorder.records.receipts import SettledQuote
from meritorder.report.ledger import proof, words
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.ledger.answer import account, cost_all, of_tenant, whole_period
from meritorder.study.ledger.costing import CostedLedger
from meritorder.study.ledger.focus import to_focus
from meritorder.study.ledger.savings import share_saving
from meritorder.units import SECONDS_PER_DAY, utc
from meritorder.web.access import Viewer
from meritorder.web.render import html

_log: Final = logging.getLogger(__name__)

LedgerReader = Callable[[float, float], tuple[pl.DataFrame, Sequence[Paid], Sequence[SettledQuote]]]
"""Reads the attempts, the paid capacity and the quotes of a period."""

PERIODS: Final[Mapping[str, tuple[str, float]]] = {
    "1d": ("the last day", SECONDS_PER_DAY),
    "7d": ("the last 7 days", 7 * SECONDS_PER_DAY),
    "30d": ("the last 30 days", 30 * SECONDS_PER_DAY),
    "all": ("all time", 1e15),
}
GROUPS: Final = ("day", "hour", "month", "tenant", "workload", "model", "lane", "venue", "team", "key", "use")
DEFAULT_PERIOD: Final = "7d"
_EVER_S: Final = 1e15
_FRESH_S: Final = 30.0
_FRESH_SIMULATED_S: Final = 600.0  # a simulation takes longer than reading
_PATIENCE_S: Final = 0.6
_MAX_ROWS: Final = 1000
_OF_ALL: Final = "real time alone is simulated for all tenants together; an admin key shows it"


@dataclass(slots=True)
class _Book:
    """A period of the ledger as it was read at one time.

    Args:
        costed: Its costs.
        base: What was paid, without groups.
        read_s: When it was read, in epoch seconds.
        simulated: The same with real time alone; None until it is simulated.
        reports: Answers by tenant and group.
    """

    costed: CostedLedger
    base: LedgerReport
    read_s: float
    simulated: LedgerReport | None = None
    reports: dict[tuple[str | None, str], LedgerReport] = field(default_factory=dict)

    @property
    def is_fresh(self) -> bool:
        """Whether it need not be read again."""
        return time.time() - self.read_s < (_FRESH_S if self.simulated is None else _FRESH_SIMULATED_S)


class Ledgers:
    """The ledger of a gateway by period; an old answer is shown while a new one is prepared.

    Args:
        read: Reads it from the store.
    """

    def __init__(self, read: LedgerReader) -> None:
        self._read = read
        self._books: dict[str, _Book] = {}
        self._errors: dict[str, str] = {}
        self._tasks: dict[tuple[str, bool], asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(1)

    async def prepare(self, period: str, *, with_saving: bool = False, patience_s: float = _PATIENCE_S) -> bool:
        """Read a period, and simulate it, if that is not done; return whether it is ready within the patience."""
        book, key = self._books.get(period), (period, with_saving)
        is_ready = book is not None and (book.simulated is not None or not with_saving)
        if (not is_ready or not self._books[period].is_fresh) and key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._prepare(period, with_saving=with_saving))
        if not is_ready and key in self._tasks:
            await asyncio.wait([self._tasks[key]], timeout=patience_s)
        book = self._books.get(period)
        return period in self._errors or (book is not None and (book.simulated is not None or not with_saving))

    async def answer(self, period: str, group: str, viewer: Viewer, *, with_saving: bool) -> tuple[LedgerReport, float]:
        """Return what was paid by group, and when that was read.

        Raises:
            MeritorderError: The ledger cannot be read, or is empty.
        """
        book = self._book(period)
        return await asyncio.to_thread(_report, book, group, viewer, with_saving=with_saving), book.read_s

    async def focus(self, period: str, viewer: Viewer) -> bytes:
        """Return the costs of a period as CSV with the columns of FOCUS."""
        return await asyncio.to_thread(to_focus, _visible(self._book(period), viewer), ".csv")

    async def close(self) -> None:
        """Stop what goes on."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _book(self, period: str) -> _Book:
        if period not in self._books:
            raise MeritorderError(self._errors.get(period, "the ledger is not read yet"))
        return self._books[period]

    async def _prepare(self, period: str, *, with_saving: bool) -> None:
        try:
            async with self._turn:
                book = self._books.get(period)
                if book is None or not book.is_fresh:
                    book = self._books[period] = await asyncio.to_thread(self._read_book, period)
                if with_saving and book.simulated is None:
                    book.simulated = await asyncio.to_thread(_simulate, book)
            self._errors.pop(period, None)
        except MeritorderError as error:
            self._books.pop(period, None)
            self._errors[period] = str(error)
        except Exception:  # noqa: BLE001 - a page says so
            _log.exception("the ledger cannot be read")
            self._errors[period] = "The ledger cannot be read; the log of these pages says why."
        finally:
            del self._tasks[period, with_saving]

    def _read_book(self, period: str) -> _Book:
        now_s = time.time()
        from_s = now_s - PERIODS[period][1]
        attempts, paid, quotes = self._read(from_s, _EVER_S)
        there = whole_period(attempts, paid)
        span = replace(there, from_s=min(max(there.from_s, from_s), there.to_s))
        costed = cost_all(attempts, paid, span)
        return _Book(costed, account(costed, (), quotes=quotes), now_s)


def _simulate(book: _Book) -> LedgerReport:
    from meritorder.study.ledger.counterfactual import with_counterfactual  # noqa: PLC0415 - it compiles the simulator

    return with_counterfactual(book.base, book.costed, CompareOptions(), lambda _: None)


def _visible(book: _Book, viewer: Viewer) -> CostedLedger:
    """Return the costs that a viewer may see."""
    return book.costed if viewer.is_admin else of_tenant(book.costed, viewer.tenant)


def _report(book: _Book, group: str, viewer: Viewer, *, with_saving: bool) -> LedgerReport:
    tenant = None if viewer.is_admin else viewer.tenant
    costed = _visible(book, viewer)
    plain = book.reports.get((tenant, group))
    if plain is None:
        plain = book.reports[tenant, group] = account(costed, (group,))
    if tenant is not None:
        return msgspec.structs.replace(plain, no_saving_because=_OF_ALL)
    base = book.simulated if with_saving and book.simulated is not None else book.base
    rows = plain.rows if base.saved_usd is None else share_saving(plain, costed, base.saved_usd)
    return msgspec.structs.replace(base, rows=rows)


async def show_ledger(request: Request) -> Response:
    """Return what was paid in a period, by group."""
    ledgers: Ledgers | None = request.app.state.ledgers
    period, group, with_saving = _question(request)
    values: dict[str, Any] = {
        "periods": PERIODS,
        "groups": GROUPS,
        "period": period,
        "group": group,
        "with_saving": with_saving,
        "query": f"period={period}&by={group}" + ("&saved=1" if with_saving else ""),
    }
    if ledgers is None:
        return html(request, "ledger_page.html.j2", values | {"state": "none"})
    if not await ledgers.prepare(period, with_saving=with_saving):
        return html(request, "ledger_page.html.j2", values | {"state": "waiting"})
    try:
        report, read_s = await ledgers.answer(period, group, request.state.viewer, with_saving=with_saving)
    except MeritorderError as error:
        return html(request, "ledger_page.html.j2", values | {"state": "failed", "error": str(error)})
    return html(request, "ledger_page.html.j2", values | {"state": "shown"} | _ledger_view(report, read_s))


def _ledger_view(report: LedgerReport, read_s: float) -> dict[str, Any]:
    grid = words.groups(report)
    paid = [max(0.0, float(row.paid_usd)) for row in report.rows]
    shares = [100 * usd / (max(paid) or 1.0) for usd in paid]
    return {
        "proof": proof.view(report),
        "sentence": words.sentence(report),
        "grid": grid,
        "rows": list(zip(grid.rows, shares, strict=True))[-_MAX_ROWS:],
        "hidden": max(0, len(grid.rows) - _MAX_ROWS),
        "workloads": words.workloads(report),
        "warned": report.warnings,
        "saving": words.saving(report),
        "quoted": words.quotes(report),
        "read_at": utc(read_s).strftime("%H:%M:%S"),
    }


async def show_proof(request: Request) -> Response:
    """Return one page to print."""
    ledgers: Ledgers | None = request.app.state.ledgers
    period, _, _ = _question(request, "30d")
    values: dict[str, Any] = {"periods": PERIODS, "period": period, "query": f"period={period}&saved=1"}
    if ledgers is None:
        return html(request, "proof_page.html.j2", values | {"state": "none"})
    viewer: Viewer = request.state.viewer
    if not await ledgers.prepare(period, with_saving=viewer.is_admin):
        return html(request, "proof_page.html.j2", values | {"state": "waiting"})
    try:
        report, _ = await ledgers.answer(period, "day", viewer, with_saving=True)
    except MeritorderError as error:
        return html(request, "proof_page.html.j2", values | {"state": "failed", "error": str(error)})
    return html(request, "proof_page.html.j2", values | {"state": "shown", "proof": proof.view(report)})


async def show_progress(request: Request) -> Response:
    """Tell a page, by a server-sent event, when what it waits for is ready."""
    ledgers, (period, _, with_saving) = _ledgers(request), _question(request)

    async def events() -> AsyncIterator[str]:
        while not await ledgers.prepare(period, with_saving=with_saving, patience_s=2.0):
            yield f"data: {'simulating real time alone' if with_saving else 'reading the ledger'}\n\n"
        yield "event: over\ndata: over\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def api_ledger(request: Request) -> Response:
    """Return the answer as JSON, as `meritorder ledger --json` writes it."""
    ledgers, (period, group, with_saving) = _ledgers(request), _question(request)
    while not await ledgers.prepare(period, with_saving=with_saving):
        pass
    try:
        report, _ = await ledgers.answer(period, group, request.state.viewer, with_saving=with_saving)
    except MeritorderError as error:
        return JSONResponse({"error": {"message": str(error)}}, 422)
    return Response(documents.encode(report), media_type="application/json", headers={"cache-control": "no-store"})


async def export(request: Request) -> Response:
    """Return the costs of a period as a file for tools that read bills."""
    ledgers, (period, _, _) = _ledgers(request), _question(request)
    await ledgers.prepare(period, patience_s=60.0)
    try:
        body = await ledgers.focus(period, request.state.viewer)
    except MeritorderError as error:
        return JSONResponse({"error": {"message": str(error)}}, 422)
    headers = {"content-disposition": f'attachment; filename="costs-{period}.csv"', "cache-control": "no-store"}
    return Response(body, media_type="text/csv", headers=headers)


def _question(request: Request, default: str = DEFAULT_PERIOD) -> tuple[str, str, bool]:
    """Return the period, the group, and whether the saving is asked for; what is unknown is an error."""
    query = request.query_params
    period, group = query.get("period", default), query.get("by", GROUPS[0])
    if period not in PERIODS or group not in GROUPS:
        raise HTTPException(422)
    return period, group, "saved" in query and request.state.viewer.is_admin


def _ledgers(request: Request) -> Ledgers:
    ledgers: Ledgers | None = request.app.state.ledgers
    if ledgers is None:
        raise HTTPException(404)
    return ledgers
