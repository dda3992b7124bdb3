"""The application: its pages and their routes."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from meritorder.study.autopilot.log import DecisionLog
from meritorder.study.autopilot.loop import Autopilot
from meritorder.web.access import Access, Viewer, guarded
from meritorder.web.pages import batches, calculator, data, ledger, live, plan, signing_in
from meritorder.web.pages.jobs import Jobs
from meritorder.web.render import html, style_sheet
from meritorder.web.security import LOOPBACK, Secured

_MAX_AGE_S: Final = 3600
_THREADS: Final = 32  # most of them wait for the gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the pages show.

    Args:
        access: Who may see them.
        watch: Begins to watch the gateway for a viewer; None without one.
        read_ledger: Reads the ledger; None without one.
        read_days: Answers from the ledger's sums of days; None without them.
        read_commitments: Returns the commitments in force at a time; None if they are not known.
        plan_file: File of the plan in force; None without one.
        decisions: What the autopilot decided; None without a gateway.
        pilot: Returns the autopilot, whose decisions people apply and revert; None without a gateway.
    """

    access: Access = field(default_factory=Access)
    watch: Callable[[Viewer], live.LiveGateway] | None = None
    read_ledger: ledger.LedgerReader | None = None
    read_days: ledger.DaysReader | None = None
    read_commitments: ledger.CommitmentsReader | None = None
    plan_file: Path | None = None
    decisions: DecisionLog | None = None
    pilot: Callable[[], Autopilot] | None = None


_PAGES: Final = {
    "calculator": {
        "GET /": calculator.show_page,
        "GET /calculator/answer": calculator.show_answer,
        "GET /api/estimate": calculator.api_estimate,
    },
    "data": {
        "GET /data": data.show_form,
        "POST /data": data.receive,
        "GET /data/{job}": data.show_job,
        "GET /data/{job}/events": data.show_steps,
        "GET /data/{job}/report": data.show_report,
        "GET /data/{job}/brief": data.show_brief,
        "POST /data/{job}/again": data.run_again,
        "POST /data/{job}/delete": data.delete,
    },
    "plan": {
        "GET /plan": plan.show_page,
        "GET /plan/report": plan.show_report,
        "GET /plan/{action}/{decision}": plan.confirm,
        "POST /plan/{action}/{decision}": plan.act,
        "GET /api/plan": plan.api_plan,
    },
    "live": {
        "GET /live": live.show_page,
        "GET /live/events": live.show_states,
        "GET /api/live": live.api_live,
    },
    "batches": {
        "GET /batches": batches.show_list,
        "POST /batches": batches.create,
        "GET /batches/{batch}/cancel": batches.confirm_cancel,
        "GET /batches/{batch}/results": batches.download,
        "GET /batches/{batch}/receipt": batches.show_receipt,
        "POST /batches/{batch}/{action}": batches.act,
    },
    "ledger": {
        "GET /ledger": ledger.show_ledger,
        "GET /ledger/progress": ledger.show_progress,
        "GET /ledger/costs.csv": ledger.export,
        "GET /api/ledger": ledger.api_ledger,
    },
    "proof": {"GET /proof": ledger.show_proof},
}
"""The endpoints of each page."""
_REPORTS: Final = frozenset({"/data/{job}/report", "/data/{job}/brief", "/plan/report"})
_COMPRESSED: Final = [Middleware(GZipMiddleware, compresslevel=6)]
"""For what is large and holds no secret, so that no length tells one."""


def create_app(hosts: Sequence[str] = LOOPBACK, site: Site | None = None) -> ASGIApp:
    """Return the application.

    Args:
        hosts: Names that it may be addressed by; empty for any.
        site: What it shows; None for what needs no gateway.
    """
    routes = [
        *(
            Route(
                path,
                guarded(page, endpoint),
                methods=[method],
                middleware=_COMPRESSED if path in _REPORTS else None,
            )
            for page, endpoints in _PAGES.items()
            for (method, _, path), endpoint in ((name.partition(" "), endpoint) for name, endpoint in endpoints.items())
        ),
        Route("/sign-in", signing_in.show_form),
        Route("/sign-in", signing_in.sign_in, methods=["POST"]),
        Route("/sign-out", signing_in.sign_out, methods=["POST"]),
        Route("/app.css", _show_style, middleware=_COMPRESSED),
        Route("/health", _show_health),
        Mount("/static", StaticFiles(directory=str(files("meritorder.web") / "static")), middleware=_COMPRESSED),
    ]
    application = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _show_error, ClientDisconnect: _forget, 500: _show_error},
        lifespan=_with_jobs,
    )
    site = site or Site()
    application.state.access = site.access
    ledgers = None
    if site.read_ledger is not None:
        ledgers = ledger.Ledgers(site.read_ledger, site.read_days, site.read_commitments)
    application.state.ledgers = ledgers
    application.state.live = live.LiveViews(site.watch, None if ledgers is None else ledgers.find_saving)
    application.state.plan = site.plan_file
    application.state.decisions = site.decisions
    application.state.pilot = site.pilot
    return Secured(application, hosts)


@contextlib.asynccontextmanager
async def _with_jobs(application: Starlette) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory(prefix="meritorder-ui-") as folder:
        state = application.state
        state.jobs = Jobs(Path(folder) / "jobs")
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        if state.ledgers is not None:
            await state.ledgers.prepare(ledger.FIRST, patience_s=0.0)
        try:
            yield
        finally:
            await state.jobs.close()
            if state.ledgers is not None:
                await state.ledgers.close()


async def _show_style(_request: Request) -> Response:
    headers = {"cache-control": f"max-age={_MAX_AGE_S}"}
    return Response(style_sheet(), media_type="text/css", headers=headers)


async def _show_health(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _forget(_request: Request, _error: Exception) -> Response:
    """Answer nobody: an upload was stopped, and what came of it is gone."""
    return Response(status_code=400)


async def _show_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    values = {"status": status, "message": _MESSAGES.get(status, "Something went wrong here.")}
    return html(request, "error.html.j2", values, status)


_MESSAGES: Final = {
    403: "Only an admin key may see this page.",
    404: "There is no such page.",
    405: "This page cannot be used in this way.",
    409: "The work on this file goes on.",
    413: "The file is too large for these pages; the command line takes it.",
    422: "A field cannot be used.",
}
