"""Work on a person's own files: the same commands as in a terminal, each in a process of its own, one at a time."""

import asyncio
import contextlib
import os
import secrets
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

_MAX_JOBS: Final = 20
_ID_BYTES: Final = 12
_MAX_STEP_CHARS: Final = 200
_MAX_LINE_BYTES: Final = 8192
_CHUNK_BYTES: Final = 65_536
REPORT: Final = "report.html"
PLAN: Final = "plan.json"
BRIEF: Final = "brief.html"


class JobState(StrEnum):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True, kw_only=True)
class Job:
    """Commands that run on one file.

    Args:
        id: Its name in addresses; not to be guessed.
        folder: Holds the file and what the commands write.
        file: The file.
        fields: What the form said.
        owner: The key of who gave it.
        commands: Arguments of `meritorder`, one list for each command; paths are relative to the folder.
        state: How far it is.
        step: What it does now.
        output: What the first command printed.
        error: Why it failed, in one line.
    """

    id: str
    folder: Path
    file: Path
    fields: dict[str, str]
    owner: str = ""
    commands: list[list[str]] = field(default_factory=list)
    state: JobState = JobState.WAITING
    step: str = "waiting for other work"
    output: str = ""
    error: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in {JobState.DONE, JobState.FAILED}

    @property
    def report(self) -> Path:
        """The page that it writes."""
        return self.folder / REPORT

    @property
    def brief(self) -> Path:
        """The page to print, which an audit writes as well."""
        return self.folder / BRIEF

    @property
    def shown_command(self) -> str:
        """The last command as a person would type it."""
        return shlex.join(["meritorder", *self.commands[-1]])

    def say(self, step: str) -> None:
        """Set what it does now."""
        self.step = step
        self.changed.set()

    def fail(self, error: str) -> None:
        """End it with an error, in one line."""
        self.state, self.error = JobState.FAILED, error
        self.say("failed")


class Jobs:
    """The jobs of this process; the oldest are forgotten, and all files go when it ends.

    Args:
        folder: Where the files lie meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        self._turn = asyncio.Semaphore(1)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def find(self, job_id: str) -> Job | None:
        """Return a job by its id."""
        return self._jobs.get(job_id)

    def of(self, owner: str) -> list[Job]:
        """Return the jobs of an owner, the oldest first."""
        return [job for job in self._jobs.values() if job.owner == owner]

    def create(self, name: str, fields: dict[str, str], owner: str = "") -> Job:
        """Return a new job for a file of this name, which is still to be written."""
        job_id = secrets.token_urlsafe(_ID_BYTES)
        folder = self._folder / job_id
        folder.mkdir(mode=0o700, parents=True)
        job = Job(id=job_id, folder=folder, file=folder / safe_name(name), fields=fields, owner=owner)
        self._jobs[job_id] = job
        while len(self._jobs) > _MAX_JOBS:
            self.forget(next(iter(self._jobs)))
        return job

    def start(self, job: Job, commands: Sequence[list[str]]) -> None:
        """Run the commands of a job one after another, once it is its turn."""
        job.commands = list(commands)
        job.state, job.output, job.error = JobState.WAITING, "", ""
        for written in (REPORT, PLAN, BRIEF):
            (job.folder / written).unlink(missing_ok=True)
        job.say("waiting for other work")
        self._tasks[job.id] = asyncio.create_task(self._run(job))

    def forget(self, job_id: str) -> None:
        """Stop a job and delete its files."""
        task, job = self._tasks.pop(job_id, None), self._jobs.pop(job_id, None)
        if task is not None:
            task.cancel()
        if job is not None:
            job.fail("it was stopped")
            shutil.rmtree(job.folder, ignore_errors=True)

    async def close(self) -> None:
        """Stop all jobs and delete all files."""
        tasks = list(self._tasks.values())
        for job_id in list(self._jobs):
            self.forget(job_id)
        await asyncio.gather(*tasks, return_exceptions=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _run(self, job: Job) -> None:
        async with self._turn:
            job.state = JobState.RUNNING
            for number, arguments in enumerate(job.commands):
                code, output, error = await _run_command(job, arguments)
                if code:
                    job.fail(error.removeprefix("meritorder: ") or f"the command ended with code {code}")
                    return
                if number == 0:
                    job.output = output
                    job.changed.set()
            job.state = JobState.DONE
            job.say("done")


async def _run_command(job: Job, arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run a command; return its exit code, its output, and its last line on standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "meritorder",
        *arguments,
        cwd=job.folder,
        # What it writes for itself meanwhile goes with the job, though the command is killed.
        env={**os.environ, "MERITORDER_PROGRESS": "lines", "COLUMNS": "100", "TMPDIR": str(job.folder)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, last = await asyncio.gather(_read_all(process.stdout), _follow(job, process.stderr))
        return await process.wait(), output, last
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def _read_all(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None  # noqa: S101 - piped
    return (await stream.read()).decode(errors="replace")


async def _follow(job: Job, stream: asyncio.StreamReader | None) -> str:
    """Show each line of standard error as the step; return the last one. Only the beginning of a line is kept."""
    assert stream is not None  # noqa: S101 - piped
    last, begun = "", b""
    while chunk := await stream.read(_CHUNK_BYTES):
        *lines, begun = (begun[:_MAX_LINE_BYTES] + chunk).split(b"\n")
        for line in lines:
            last = _show_line(job, line) or last
    return _show_line(job, begun) or last


def _show_line(job: Job, line: bytes) -> str:
    """Show a line as the step, unless it is blank; return its text."""
    text = " ".join(line[:_MAX_LINE_BYTES].decode(errors="replace").split())
    if text:
        job.say(text[:_MAX_STEP_CHARS])
    return text


async def steps(job: Job) -> AsyncIterator[str]:
    """Yield what a job does, whenever that changes, until it is over."""
    shown = ""
    while True:
        job.changed.clear()
        if job.step != shown:
            shown = job.step
            yield shown
        if job.is_over:
            return
        await job.changed.wait()


def safe_name(name: str) -> str:
    """Return a file's own name without anything that a path or an option could hide in."""
    base = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter for letter in base if letter.isalnum() or letter in "._-")[-100:].lstrip(".-")
    return kept or "file"
