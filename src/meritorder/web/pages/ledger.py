"""Ledger and proof: what was paid, for what, and what it saved against real time alone."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import polars as pl
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from meritorder import documents
from meritorder.errors import MeritorderError
from meritorder.metering.capacity import Paid
from meritorder.records.accounting import LedgerReport, RunningCommitment
from meritorder.records.receipts import SettledQuote
from meritorder.report.ledger import proof, words
from meritorder.report.wording import MISSING
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.ledger.answer import account, cost_all, of_tenant, whole_period
from meritorder.study.ledger.costing import CostedLedger
from meritorder.study.ledger.days import has_sums
from meritorder.study.ledger.focus import to_focus
from meritorder.study.ledger.savings import share_saving
from meritorder.units import SECONDS_PER_DAY, format_usd, utc
from meritorder.web.access import Viewer
from meritorder.web.render import html

_log: Final = logging.getLogger(__name__)

LedgerReader = Callable[[float | None, float], tuple[pl.DataFrame, Sequence[Paid], Sequence[SettledQuote]]]
"""Reads the attempts, the paid capacity and the quotes of a period."""

DaysReader = Callable[[Sequence[str], float | None, str | None], LedgerReport]
"""Answers by some groups, from a time on, for one tenant or all, from the sums of days where there are some."""

CommitmentsReader = Callable[[float], tuple[RunningCommitment, ...]]
"""Returns the commitments in force at a time, in epoch seconds."""


def _since(now_s: float, days: int) -> float:
    """Return the start of the day, in UTC, that was some days ago: whole days have sums, and only today needs rows."""
    return now_s - now_s % SECONDS_PER_DAY - days * SECONDS_PER_DAY


PERIODS: Final[Mapping[str, tuple[str, Callable[[float], float | None]]]] = {
    "today": ("today", lambda now_s: _since(now_s, 0)),
    "1d": ("the last day", lambda now_s: now_s - SECONDS_PER_DAY),
    "7d": ("the last 7 days and today", lambda now_s: _since(now_s, 7)),
    "30d": ("the last 30 days and today", lambda now_s: _since(now_s, 30)),
    "all": ("all time", lambda _: None),
}
"""The title of each period, and when it begins at a time; days are those of UTC."""
GROUPS: Final = ("day", "hour", "month", "tenant", "workload", "model", "lane", "venue", "team", "key", "use")
DEFAULT_PERIOD: Final = "7d"
_EVER_S: Final = 1e15
_FRESH_S: Final = 30.0
_FRESH_SIMULATED_S: Final = 600.0  # a simulation takes longer than reading
_PATIENCE_S: Final = 0.6
_MAX_ROWS: Final = 1000
_OF_ALL: Final = "real time alone is simulated for all tenants together; an admin key shows it"
_UNREADABLE: Final = "The ledger cannot be read; the log of these pages says why."


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a page asks of the ledger.

    Args:
        period: One of `PERIODS`.
        group: One of `GROUPS`.
        tenant: Whose costs are shown; None for all.
        with_saving: Whether real time alone is simulated.
    """

    period: str
    group: str
    tenant: str | None
    with_saving: bool = False


FIRST: Final = Question(period=DEFAULT_PERIOD, group=GROUPS[0], tenant=None)
"""What is asked first."""
_TODAY: Final = Question(period="today", group=GROUPS[0], tenant=None, with_saving=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """An answer, and when it was read, in epoch seconds."""

    report: LedgerReport
    read_s: float


@dataclass(slots=True)
class _Rows:
    """The rows of a period as they were read at one time.

    Args:
        costed: Their costs.
        base: What was paid, without groups.
        read_s: When they were read, in epoch seconds.
        simulated: The same with real time alone; None until it is simulated.
    """

    costed: CostedLedger
    base: LedgerReport
    read_s: float
    simulated: LedgerReport | None = None


class Ledgers:
    """Answers about the ledger of a gateway; an old answer is shown while a new one is prepared.

    Args:
        read: Reads rows from the store.
        read_days: Answers from the sums of days; None without them.
        read_commitments: Returns the commitments in force; None if they are not known.
    """

    def __init__(
        self,
        read: LedgerReader,
        read_days: DaysReader | None = None,
        read_commitments: CommitmentsReader | None = None,
    ) -> None:
        self._read = read
        self._read_days = read_days
        self._read_commitments = read_commitments
        self._rows: dict[str, _Rows] = {}
        self._answers: dict[Question, _Answer] = {}
        self._errors: dict[Question, str] = {}
        self._today_asked_s = float("-inf")
        self._tasks: dict[Question, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(1)

    async def prepare(self, question: Question, *, patience_s: float = _PATIENCE_S) -> bool:
        """Answer a question, unless that is under way; return whether an answer or an error is there in time."""
        answer = self._answers.get(question)
        if (answer is None or not _is_fresh(answer, question)) and question not in self._tasks:
            self._tasks[question] = asyncio.create_task(self._prepare(question))
        if answer is None:
            await asyncio.wait([self._tasks[question]], timeout=patience_s)
        return question in self._answers or question in self._errors

    def answer(self, question: Question) -> tuple[LedgerReport, float]:
        """Return the answer that was prepared, and when the ledger was read.

        Raises:
            MeritorderError: The ledger cannot be read, or is empty.
        """
        answer = self._answers.get(question)
        if answer is None:
            raise MeritorderError(self._errors.get(question, "the ledger is not read yet"))
        return answer.report, answer.read_s

    async def find_saving(self) -> tuple[str, str]:
        """Return what was saved today, and how that is known, without waiting for it; a newer answer is prepared."""
        if time.monotonic() - self._today_asked_s >= _FRESH_S:  # what fails is not tried again at once
            self._today_asked_s = time.monotonic()
            await self.prepare(_TODAY, patience_s=0.0)
        if _TODAY not in self._answers:
            return MISSING, self._errors.get(_TODAY, "real time alone is being simulated")
        report, read_s = self.answer(_TODAY)
        if report.saved_usd is None:
            reason, _, _ = report.no_saving_because.partition("; ")  # the rest is on the page of the ledger
            return MISSING, f"no saving is claimed: {reason}"
        return format_usd(report.saved_usd), (
            f"against real time alone, {words.interval(report)}, from 00:00 to {utc(read_s):%H:%M} UTC"
        )

    async def focus(self, period: str, tenant: str | None) -> bytes:
        """Return the costs of a period as CSV with the columns of FOCUS.

        Raises:
            MeritorderError: The ledger cannot be read, or is empty.
        """
        rows = await self._rows_of(period)
        return await asyncio.to_thread(to_focus, _visible(rows, tenant), ".csv")

    async def close(self) -> None:
        """Stop what goes on."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _prepare(self, question: Question) -> None:
        try:
            self._answers[question] = await self._find(question)
            self._errors.pop(question, None)
        except MeritorderError as error:
            self._answers.pop(question, None)
            self._errors[question] = str(error)
        except Exception:  # noqa: BLE001 - a page says so
            _log.exception("the ledger cannot be read")
            self._errors[question] = _UNREADABLE
        finally:
            del self._tasks[question]

    async def _find(self, question: Question) -> _Answer:
        by, tenant = (question.group,), question.tenant
        if self._read_days is not None and has_sums(by) and not question.with_saving:
            now_s = time.time()
            report = await asyncio.to_thread(self._read_days, by, PERIODS[question.period][1](now_s), tenant)
        else:
            rows = await self._rows_of(question.period, with_saving=question.with_saving)
            report, now_s = await asyncio.to_thread(_report, rows, question), rows.read_s
        if tenant is not None:
            report = msgspec.structs.replace(report, no_saving_because=_OF_ALL)
        elif self._read_commitments is not None:
            running = await asyncio.to_thread(self._read_commitments, now_s)
            report = msgspec.structs.replace(report, commitments=running)
        return _Answer(report=report, read_s=now_s)

    async def _rows_of(self, period: str, *, with_saving: bool = False) -> _Rows:
        """Return the rows of a period, read again if they are old, and simulated if that is asked for."""
        async with self._turn:
            rows, fresh_s = self._rows.get(period), _FRESH_SIMULATED_S if with_saving else _FRESH_S
            if rows is None or time.time() - rows.read_s >= fresh_s:
                rows = self._rows[period] = await asyncio.to_thread(self._read_rows, period)
            if with_saving and rows.simulated is None:
                rows.simulated = await asyncio.to_thread(_simulate, rows)
            return rows

    def _read_rows(self, period: str) -> _Rows:
        now_s = time.time()
        from_s = PERIODS[period][1](now_s)
        attempts, paid, quotes = self._read(from_s, _EVER_S)
        span = whole_period(attempts, paid)
        if from_s is not None:
            span = replace(span, from_s=min(max(span.from_s, from_s), span.to_s))
        costed = cost_all(attempts, paid, span)
        return _Rows(costed, account(costed, (), quotes=quotes), now_s)


def _is_fresh(answer: _Answer, question: Question) -> bool:
    return time.time() - answer.read_s < (_FRESH_SIMULATED_S if question.with_saving else _FRESH_S)


def _simulate(rows: _Rows) -> LedgerReport:
    from meritorder.study.ledger.counterfactual import with_counterfactual  # noqa: PLC0415 - it compiles the simulator

    return with_counterfactual(rows.base, rows.costed, CompareOptions(), lambda _: None)


def _visible(rows: _Rows, tenant: str | None) -> CostedLedger:
    """Return the costs that a tenant may see; None may see all."""
    return rows.costed if tenant is None else of_tenant(rows.costed, tenant)


def _report(rows: _Rows, question: Question) -> LedgerReport:
    costed = _visible(rows, question.tenant)
    plain = account(costed, (question.group,))
    if question.tenant is not None:
        return plain
    base = rows.simulated if question.with_saving and rows.simulated is not None else rows.base
    groups = plain.rows if base.saved_usd is None else share_saving(plain, costed, base.saved_usd)
    return msgspec.structs.replace(base, rows=groups)


async def show_ledger(request: Request) -> Response:
    """Return what was paid in a period, by group."""
    ledgers: Ledgers | None = request.app.state.ledgers
    question = _question(request)
    period, group = question.period, question.group
    values: dict[str, Any] = {
        "periods": PERIODS,
        "groups": GROUPS,
        "period": period,
        "group": group,
        "with_saving": question.with_saving,
        "query": f"period={period}&by={group}" + ("&saved=1" if question.with_saving else ""),
    }
    if ledgers is None:
        return html(request, "ledger_page.html.j2", values | {"state": "none"})
    if not await ledgers.prepare(question):
        return html(request, "ledger_page.html.j2", values | {"state": "waiting"})
    try:
        report, read_s = ledgers.answer(question)
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
        "commitments": [words.commitment(running) for running in report.commitments],
        "read_at": utc(read_s).strftime("%H:%M:%S"),
    }


async def show_proof(request: Request) -> Response:
    """Return one page to print."""
    ledgers: Ledgers | None = request.app.state.ledgers
    viewer: Viewer = request.state.viewer
    question = replace(_question(request, "30d"), group=GROUPS[0], with_saving=viewer.is_admin)
    period = question.period
    values: dict[str, Any] = {"periods": PERIODS, "period": period, "query": f"period={period}&saved=1"}
    if ledgers is None:
        return html(request, "proof_page.html.j2", values | {"state": "none"})
    if not await ledgers.prepare(question):
        return html(request, "proof_page.html.j2", values | {"state": "waiting"})
    try:
        report, _ = ledgers.answer(question)
    except MeritorderError as error:
        return html(request, "proof_page.html.j2", values | {"state": "failed", "error": str(error)})
    return html(request, "proof_page.html.j2", values | {"state": "shown", "proof": proof.view(report)})


async def show_progress(request: Request) -> Response:
    """Tell a page, by a server-sent event, when what it waits for is ready."""
    ledgers, question = _ledgers(request), _question(request)

    async def events() -> AsyncIterator[str]:
        while not await ledgers.prepare(question, patience_s=2.0):
            yield f"data: {'simulating real time alone' if question.with_saving else 'reading the ledger'}\n\n"
        yield "event: over\ndata: over\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def api_ledger(request: Request) -> Response:
    """Return the answer as JSON, as `meritorder ledger --json` writes it."""
    ledgers, question = _ledgers(request), _question(request)
    while not await ledgers.prepare(question):
        pass
    try:
        report, _ = ledgers.answer(question)
    except MeritorderError as error:
        return JSONResponse({"error": {"message": str(error)}}, 422)
    return Response(documents.encode(report), media_type="application/json", headers={"cache-control": "no-store"})


async def export(request: Request) -> Response:
    """Return the costs of a period as a file for tools that read bills."""
    ledgers, question = _ledgers(request), _question(request)
    try:
        body = await ledgers.focus(question.period, question.tenant)
    except MeritorderError as error:
        return JSONResponse({"error": {"message": str(error)}}, 422)
    headers = {
        "content-disposition": f'attachment; filename="costs-{question.period}.csv"',
        "cache-control": "no-store",
    }
    return Response(body, media_type="text/csv", headers=headers)


def _question(request: Request, default: str = DEFAULT_PERIOD) -> Question:
    """Return what a viewer asks and may see; what is unknown is an error."""
    query, viewer = request.query_params, request.state.viewer
    period, group = query.get("period", default), query.get("by", GROUPS[0])
    if period not in PERIODS or group not in GROUPS:
        raise HTTPException(422)
    return Question(
        period=period,
        group=group,
        tenant=None if viewer.is_admin else viewer.tenant,
        with_saving="saved" in query and viewer.is_admin,
    )


def _ledgers(request: Request) -> Ledgers:
    ledgers: Ledgers | None = request.app.state.ledgers
    if ledgers is None:
        raise HTTPException(404)
    return ledgers
