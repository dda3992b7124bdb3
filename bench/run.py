"""A job on Ray: time beside the same worker without Ray, processor time of a row, and random kills on a cluster."""

import asyncio
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from bench._lossy_cluster import survive
from bench._process import ROOT, Measured, measure
from bench._tree import measure_tree
from meritorder.inputs.prompts import PromptRules

ROWS: Final = 100_000
KILLS: Final = 100
_ROUNDS: Final = 3
_ROWS_PER_FILE: Final = 500
_BATCHES: Final = 4  # in work at once, as Ray Data has them
_NS_PER_S: Final = 1e9


def run(rows: int = ROWS, rounds: int = _ROUNDS, kills: int = KILLS) -> dict[str, Any]:
    """Measure both ways, and kill processes of a cluster that runs a job."""
    if importlib.util.find_spec("ray") is None:
        return {"skipped": "needs the extra `ray`"}
    return _overhead(rows, rounds) | {"killed": survive(kills)}


def _overhead(rows: int, rounds: int) -> dict[str, Any]:
    """Answer the same rows both ways in turn; return medians. What a start takes, one of few rows takes, too."""
    direct_s, on_ray_s, cpu_s, on_ray_cpu_s, peaks_bytes = [], [], [], [], []
    with tempfile.TemporaryDirectory() as name, _stub() as url:
        folder = Path(name)
        few, many = _write(folder / "few.jsonl", _ROWS_PER_FILE), _write(folder / "rows.jsonl", rows)
        start_s = measure(["-m", "bench.run", str(few), str(folder / "few"), url]).cpu_seconds
        ray_start_s = _on_ray(few, folder / "few_on_ray", url).cpu_seconds
        for number in range(rounds):
            out = folder / f"direct{number}"
            cpu_s.append(measure(["-m", "bench.run", str(many), str(out), url]).cpu_seconds)
            direct_s.append(_seconds(out))
            out = folder / f"ray{number}"
            measured = _on_ray(many, out, url)
            on_ray_s.append(_seconds(out))
            on_ray_cpu_s.append(measured.cpu_seconds)
            peaks_bytes.append(measured.peak_rss_bytes)
    ratios = [ray / direct for ray, direct in zip(on_ray_s, direct_s, strict=True)]
    return {
        "rows": rows,
        "direct_rows_per_s": rows / statistics.median(direct_s),
        "ray_rows_per_s": rows / statistics.median(on_ray_s),
        "ray_time_to_direct": statistics.median(ratios),
        "direct_start_cpu_s": start_s,
        "ray_start_cpu_s": ray_start_s,
        "direct_cpu_ms_per_row": 1000 * (statistics.median(cpu_s) - start_s) / (rows - _ROWS_PER_FILE),
        "ray_cpu_ms_per_row": 1000 * (statistics.median(on_ray_cpu_s) - ray_start_s) / (rows - _ROWS_PER_FILE),
        "ray_peak_bytes": max(peaks_bytes),
    }


def _write(path: Path, rows: int) -> Path:
    lines = ({"id": str(number), "prompt": f"Say the number {number}."} for number in range(rows))
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return path


def _on_ray(path: Path, out: Path, url: str) -> Measured:
    """Answer the rows of a file on Ray."""
    job = [str(path), "--out", str(out), "--url", url, "--model", "stub", "--rows-per-file", str(_ROWS_PER_FILE)]
    return measure_tree(["-m", "meritorder", "run", *job])


def _seconds(out: Path) -> float:
    """Return the time between the first and the last file of answers, as their names state it."""
    written_ns = sorted(int(file.name.partition("-")[0]) for file in out.glob("*.parquet"))
    return (written_ns[-1] - written_ns[0]) / _NS_PER_S


@contextlib.contextmanager
def _stub() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench._stub"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        port = next(iter(process.stdout or ())).strip()
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


async def _answer_directly(path: Path, out: str, url: str) -> None:
    import pyarrow as pa  # noqa: PLC0415 - with the extra `ray`

    from meritorder.jobs.asking import AskingOptions, RowAnswerer  # noqa: PLC0415
    from meritorder.jobs.output import Stored  # noqa: PLC0415
    from meritorder.jobs.rows import RowRules  # noqa: PLC0415
    from meritorder.jobs.sources import LINE  # noqa: PLC0415

    rules = RowRules(id_column="", are_prompts=False, prompts=PromptRules(model="stub"))
    answerer = RowAnswerer(rules, AskingOptions(urls=(url,)), out, Stored(np.empty(0, np.uint64)))
    in_work = asyncio.Semaphore(_BATCHES)

    async def answer(lines: list[str]) -> None:
        async with in_work:
            await answerer(pa.table({LINE: pa.array(lines, pa.binary())}))

    lines = path.read_text(encoding="utf-8").splitlines()
    starts = range(0, len(lines), _ROWS_PER_FILE)
    await asyncio.gather(*(answer(lines[start : start + _ROWS_PER_FILE]) for start in starts))
    await answerer.close()


if __name__ == "__main__":
    asyncio.run(_answer_directly(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
