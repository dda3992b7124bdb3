"""A person's own trace or bill, compared, planned or audited on this machine."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse

from meritorder.web.pages.jobs import BRIEF, PLAN, REPORT, Job, Jobs, JobState, steps
from meritorder.web.render import html
from meritorder.web.security import REPORT_HEADERS

_MAX_FIELD: Final = 500
_COPY_BYTES: Final = 2**20
_SEE_OTHER: Final = 303


@dataclass(frozen=True, slots=True)
class Study:
    """What can be done with a file: the command, the fields of the form that are its options, and what it writes."""

    title: str
    command: str
    options: Mapping[str, str]
    reads: str = "inspect"
    written: tuple[str, ...] = ()


_TRACE_OPTIONS: Final = {"model": "--model", "hardware": "--hardware", "defer": "--defer", "columns": "--columns"}
STUDIES: Final = {
    "compare": Study("What does this traffic cost?", "compare", _TRACE_OPTIONS),
    "plan": Study("What is the cheapest plan for it?", "plan", _TRACE_OPTIONS, written=("--json", PLAN)),
    "audit": Study(
        "What is overpaid in this bill?",
        "audit",
        {"columns": "--columns", "model": "--model"},
        reads="",
        written=("--brief", BRIEF),
    ),
}
_FIRST: Final = next(iter(STUDIES))


async def show_form(request: Request) -> Response:
    """Return the form."""
    return _form(request)


async def receive(request: Request) -> Response:
    """Take a file and start the work on it."""
    async with request.form() as form:
        upload = form.get("file")
        fields = _fields(form)
        if not isinstance(upload, UploadFile) or not upload.filename or fields.get("study") not in STUDIES:
            return _form(request, "Choose a file, and what to find out about it.", 422)
        jobs: Jobs = request.app.state.jobs
        job = jobs.create(upload.filename, fields, request.state.viewer.key)
        try:
            with job.file.open("xb") as target:
                await asyncio.to_thread(shutil.copyfileobj, upload.file, target, _COPY_BYTES)
        except OSError as error:
            jobs.forget(job.id)
            return _form(request, f"The file could not be kept here: {error.strerror}.", 507)
    jobs.start(job, commands(job))
    return RedirectResponse(f"/data/{job.id}", _SEE_OTHER)


def _form(request: Request, error: str = "", status: int = 200) -> Response:
    jobs: Jobs = request.app.state.jobs
    own = jobs.of(request.state.viewer.key)[::-1]
    return html(request, "data.html.j2", {"studies": STUDIES, "chosen": _FIRST, "error": error, "own": own}, status)


async def run_again(request: Request) -> Response:
    """Start the work on the same file with other options."""
    job = _job(request)
    async with request.form() as form:
        fields = _fields(form)
    if not job.is_over:
        raise HTTPException(409)
    if fields.get("study") not in STUDIES:
        raise HTTPException(422)
    job.fields |= {name: text for name, text in fields.items() if name == "study" or name in _TRACE_OPTIONS}
    jobs: Jobs = request.app.state.jobs
    jobs.start(job, commands(job))
    return RedirectResponse(f"/data/{job.id}", _SEE_OTHER)


async def show_job(request: Request) -> Response:
    """Return how far the work is, or what came of it."""
    job = _job(request)
    values = {"job": job, "studies": STUDIES, "chosen": job.fields["study"], "states": JobState}
    return html(request, "job.html.j2", values)


async def show_steps(request: Request) -> Response:
    """Stream each step of the work as a server-sent event."""

    async def events() -> AsyncIterator[str]:
        async for step in steps(_job(request)):
            yield f"data: {step}\n\n"
        yield "event: over\ndata: over\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def show_report(request: Request) -> Response:
    """Return the report, which is a page of its own."""
    return _page(_job(request).report)


async def show_brief(request: Request) -> Response:
    """Return the page to print."""
    return _page(_job(request).brief)


def _page(path: Path) -> Response:
    if not path.exists():
        raise HTTPException(404)
    return FileResponse(path, media_type="text/html", headers=dict(REPORT_HEADERS))


async def delete(request: Request) -> Response:
    """Stop the work and delete the file."""
    jobs: Jobs = request.app.state.jobs
    jobs.forget(_job(request).id)
    return RedirectResponse("/data", _SEE_OTHER)


def commands(job: Job) -> list[list[str]]:
    """Return the commands for a job: one that shows what was read, and the study."""
    study = STUDIES[job.fields["study"]]
    options = [
        f"{option}={job.fields[name]}" for name, option in study.options.items() if job.fields.get(name, "").strip()
    ]
    reading = [option for option in options if option.startswith("--columns")]
    written = ["--html", REPORT, *study.written]
    runs = [[study.command, job.file.name, *options, *written]]
    return [[study.reads, job.file.name, *reading], *runs] if study.reads else runs


def _fields(form: FormData) -> dict[str, str]:
    texts = {name: value.strip() for name, value in form.items() if isinstance(value, str)}
    if any(len(text) > _MAX_FIELD or not text.isprintable() for text in texts.values()):
        raise HTTPException(422)
    return texts


def _job(request: Request) -> Job:
    jobs: Jobs = request.app.state.jobs
    job = jobs.find(request.path_params["job"])
    if job is None or job.owner != request.state.viewer.key:
        raise HTTPException(404)
    return job
