"""Work on files: one at a time, in order, and nothing left behind."""

import asyncio
import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from meritorder.web.pages.jobs import Job, Jobs, JobState, safe_name, steps


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("bill.csv", "bill.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\trace 1.csv", "trace1.csv"),
        ("--html=x.csv", "htmlx.csv"),
        (".bashrc", "bashrc"),
        ("a;rm -rf $HOME.csv", "arm-rfHOME.csv"),
        ("", "file"),
        ("Übung.json", "Übung.json"),
    ],
)
def test_names_of_files_are_harmless(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_long_names_keep_their_ending() -> None:
    assert safe_name("x" * 300 + ".parquet").endswith(".parquet")


def _trace(job: Job) -> list[list[str]]:
    job.file.write_text("arrived_at,input_tokens,output_tokens\n2026-01-05T00:00:00Z,10,5\n", encoding="utf-8")
    return [["inspect", job.file.name]]


async def _finish(job: Job) -> list[str]:
    async with asyncio.timeout(120):
        return [step async for step in steps(job)]


@pytest.mark.asyncio
async def test_job_shows_what_it_read(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    job = jobs.create("trace.csv", {})
    jobs.start(job, _trace(job))
    said = await _finish(job)
    assert (job.state, job.error, said[-1]) == (JobState.DONE, "", "done")
    assert re.search(r"requests +1\b", job.output)
    assert job.shown_command == "meritorder inspect trace.csv"
    await jobs.close()
    assert not (tmp_path / "jobs").exists()


@pytest.mark.asyncio
async def test_failure_is_the_line_of_the_command(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    job = jobs.create("trace.csv", {})
    job.file.write_text("nothing,of,use\n1,2,3\n", encoding="utf-8")
    jobs.start(job, [["inspect", job.file.name], ["never", "run"]])
    await _finish(job)
    assert job.state is JobState.FAILED
    assert job.error.startswith("trace.csv: ")
    await jobs.close()


@pytest.mark.asyncio
async def test_endless_line_ends_in_an_error(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    job = jobs.create("trace.csv", {})
    job.file.write_text(f"{'a' * 200_000},b\r\n1,2\n", encoding="utf-8")  # the error names the column
    jobs.start(job, [["inspect", job.file.name]])
    said = await _finish(job)
    assert job.state is JobState.FAILED
    assert job.error.startswith("trace.csv: ")
    assert len(job.error) < 10_000
    assert max(map(len, said)) <= 200
    await jobs.close()


@pytest.mark.asyncio
async def test_jobs_wait_for_their_turn(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    first, second = (jobs.create("trace.csv", {}) for _ in range(2))
    commands = _trace(second)
    os.mkfifo(first.file)
    for job in (first, second):
        jobs.start(job, commands)
    pipe = await asyncio.to_thread(first.file.open, "wb")  # once the first command reads
    assert [first.state, second.state] == [JobState.RUNNING, JobState.WAITING]
    pipe.write(second.file.read_bytes())
    pipe.close()
    await asyncio.gather(_finish(first), _finish(second))
    assert [first.state, second.state] == [JobState.DONE, JobState.DONE]
    await jobs.close()


@pytest.mark.asyncio
async def test_forgotten_job_leaves_no_process(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    job = jobs.create("pipe.csv", {})
    os.mkfifo(job.file)  # a command that reads it waits for ever
    jobs.start(job, [["inspect", str(job.file)]])
    shown = asyncio.create_task(_finish(job))
    await _wait_until(lambda: _runs(job))
    jobs.forget(job.id)
    assert jobs.find(job.id) is None
    assert not job.folder.exists()
    await _wait_until(lambda: not _runs(job))
    assert (await shown)[-1] == "failed"
    await jobs.close()


async def _wait_until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not is_so():
            await asyncio.sleep(0.02)


def _runs(job: Job) -> bool:
    return any(_is_for(job, process) for process in Path("/proc").glob("[0-9]*"))


def _is_for(job: Job, process: Path) -> bool:
    with contextlib.suppress(OSError):
        return job.id.encode() in (process / "cmdline").read_bytes()
    return False


@pytest.mark.asyncio
async def test_oldest_job_is_forgotten(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    first = jobs.create("a.csv", {})
    for _ in range(20):
        jobs.create("b.csv", {})
    assert jobs.find(first.id) is None
    assert not first.folder.exists()
    await jobs.close()
