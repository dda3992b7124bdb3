"""Batches of a tenant: quote, create, pause, resume and cancel them; fetch results and receipts."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from starlette.background import BackgroundTask
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from meritorder import documents
from meritorder.errors import ConfigError, MeritorderError
from meritorder.gateway.app.client import FINAL_STATUSES, GatewayClient
from meritorder.inputs.prompts import PromptRules, is_batch_file, write_batch_file
from meritorder.records.receipts import RECEIPT_SCHEMA, SignedReceipt
from meritorder.report.ledger import quote as quoting
from meritorder.report.ledger import receipt as receipts
from meritorder.units import format_usd, utc
from meritorder.web.access import Access, Viewer
from meritorder.web.pages.jobs import safe_name
from meritorder.web.render import html
from meritorder.web.security import REPORT_HEADERS

_SEE_OTHER: Final = 303
_ID: Final = re.compile(r"batch_[\w-]{1,80}")
_QUOTE_ID: Final = re.compile(r"quote_[\w-]{1,80}")
_MAX_FIELD: Final = 100
_ACTIONS: Final = ("pause", "resume", "cancel")
_PAUSABLE: Final = frozenset({"validating", "in_progress"})


async def show_list(request: Request) -> Response:
    """Return the latest batches, and the form for a new one."""
    return await _show(request)


async def create(request: Request) -> Response:
    """Quote or create a batch, as the form asks."""
    form = await request.form()
    fields = _fields(form)
    try:
        if "quote" in fields:
            if not _QUOTE_ID.fullmatch(fields["quote"]):
                raise ConfigError("this is no quote", where="quote")
            await _ask(request, lambda client: client.submit_quoted(fields["quote"], fields.get("window", "24h")))
            return RedirectResponse("/batches", _SEE_OTHER)
        upload = form.get("file")
        if not isinstance(upload, UploadFile) or not upload.filename:
            raise ConfigError("no file was chosen", where="file")
        with tempfile.TemporaryDirectory(prefix="meritorder-batch-") as folder:
            path = Path(folder) / safe_name(upload.filename)
            with path.open("xb") as target:
                await asyncio.to_thread(shutil.copyfileobj, upload.file, target)
            if fields.get("action") == "quote":
                body = await _ask(request, lambda client: client.quote(_as_requests(client, path, fields)))
                return html(request, "quote.html.j2", _quote_view(body))
            window = fields.get("window") or "24h"
            await _ask(request, lambda client: client.submit(_as_requests(client, path, fields), window))
    except MeritorderError as error:
        return await _show(request, str(error))
    return RedirectResponse("/batches", _SEE_OTHER)


async def act(request: Request) -> Response:
    """Pause, resume or cancel a batch."""
    batch_id, action = _batch_id(request), request.path_params["action"]
    if action not in _ACTIONS:
        raise HTTPException(404)
    try:
        await _ask(request, lambda client: client.act_on_batch(batch_id, action))
    except MeritorderError as error:
        return await _show(request, str(error))
    return RedirectResponse("/batches", _SEE_OTHER)


async def confirm_cancel(request: Request) -> Response:
    """Ask whether to cancel a batch."""
    batch_id = _batch_id(request)
    try:
        batch = await _ask(request, lambda client: client.batch(batch_id))
    except MeritorderError as error:
        return await _show(request, str(error))
    counts = batch["request_counts"]
    answered = f"{counts['completed']:,} of {counts['total']:,} requests are answered"
    values = {
        "question": "Cancel this batch?",
        "what": f"{batch_id}: {answered}. Their results stay; the others are never run.",
        "button": "Cancel the batch",
        "back": "/batches",
    }
    return html(request, "confirm.html.j2", values)


async def download(request: Request) -> Response:
    """Return the results of a batch, in the order of its input, with the lines that failed."""
    batch_id = _batch_id(request)
    folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="meritorder-batch-")
    path = Path(folder) / f"{batch_id}.jsonl"

    def fetch(client: GatewayClient) -> None:
        for _ in client.fetch(client.batch(batch_id), path, in_order=True):
            pass

    remove = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    try:
        await _ask(request, fetch)
    except MeritorderError as error:
        await remove()
        return await _show(request, str(error))
    return FileResponse(path, filename=path.name, media_type="application/jsonl", background=remove)


async def show_receipt(request: Request) -> Response:
    """Return the receipt of a finished batch, which is a page of its own."""
    batch_id = _batch_id(request)
    try:
        body = await _ask(request, lambda client: client.receipt(batch_id))
        signed = documents.decode(
            body,
            SignedReceipt,
            schema=RECEIPT_SCHEMA,
            what="a receipt",
            command="meritorder batch receipt",
            where=batch_id,
        )
    except MeritorderError as error:
        return await _show(request, str(error))
    return HTMLResponse(receipts.page(signed), headers=dict(REPORT_HEADERS))


async def _show(request: Request, error: str = "") -> Response:
    """Return the list, with what went wrong."""
    access: Access = request.app.state.access
    if access.gateway is None:
        return html(request, "batches.html.j2", {"gateway": None, "error": ""})
    batches: list[dict[str, Any]] = []
    has_more = False
    try:
        batches, has_more = await _ask(request, lambda client: client.batches())
    except MeritorderError as failure:
        error = error or str(failure)
    values = {
        "gateway": access.gateway.url,
        "batches": [_row(batch) for batch in batches],
        "has_more": has_more,
        "error": error,
    }
    return html(request, "batches.html.j2", values, 422 if error else 200)


def _row(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the list shows of a batch."""
    counts, is_open = batch["request_counts"], batch["status"] not in FINAL_STATUSES
    is_paused = bool(batch.get("paused_at"))
    return {
        "id": batch["id"],
        "model": batch.get("model") or "",
        "status": "paused" if is_paused and is_open else batch["status"].replace("_", " "),
        "created": utc(batch["created_at"]).strftime("%Y-%m-%d %H:%M"),
        "done": counts["completed"],
        "failed": counts["failed"],
        "total": counts["total"],
        "percent": 100 * (counts["completed"] + counts["failed"]) / counts["total"] if counts["total"] else 0.0,
        "can_pause": batch["status"] in _PAUSABLE and not is_paused,
        "can_resume": is_open and is_paused,
        "can_cancel": is_open and batch["status"] != "cancelling",
        "has_results": bool(batch["output_file_id"] or batch["error_file_id"]),
        "has_receipt": not is_open,
    }


def _quote_view(body: bytes) -> dict[str, Any]:
    quote = quoting.decode(body)
    grid = quoting.offers(quote)
    offers = [
        {"cells": cells, "patience": offer.patience, "is_offered": offer.usd is not None and offer.patience != "now"}
        for offer, cells in zip(quote.offers, grid.rows, strict=True)
    ]
    priced = [offer.usd for offer in quote.offers if offer.usd is not None]
    cheapest = format_usd(min(priced)) if priced else ""
    return {
        "quote": quote,
        "sentence": quoting.sentence(quote),
        "cheapest": cheapest,
        "headings": grid.headings,
        "texts": grid.texts,
        "offers": offers,
    }


def _as_requests(client: GatewayClient, path: Path, fields: Mapping[str, str]) -> Path:
    """Return a file of requests: as given, or written from one of prompts."""
    if is_batch_file(path):
        return path
    rules = PromptRules(model=fields.get("model") or client.only_model(), prompt="prompt", max_tokens=None)
    converted = path.with_name(f"requests-{path.stem}.jsonl")
    write_batch_file(path, converted, rules)
    return converted


def _fields(form: FormData) -> dict[str, str]:
    texts = {name: value.strip() for name, value in form.items() if isinstance(value, str)}
    if any(len(text) > _MAX_FIELD or not text.isprintable() for text in texts.values()):
        raise HTTPException(422)
    return texts


def _batch_id(request: Request) -> str:
    batch_id: str = request.path_params["batch"]
    if not _ID.fullmatch(batch_id) or request.app.state.access.gateway is None:
        raise HTTPException(404)
    return batch_id


async def _ask(request: Request, question: Callable[[GatewayClient], Any]) -> Any:  # noqa: ANN401 - as the client answers
    access: Access = request.app.state.access
    viewer: Viewer = request.state.viewer
    if access.gateway is None:
        raise HTTPException(404)
    return await access.gateway.ask(viewer.key, question)
