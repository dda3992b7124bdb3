"""Reading a trace of ten million rows: rows per second, peak memory, and the ratio to a plain scan of the file."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from bench._process import Measured, measure

ROWS: Final = 10_000_000
_PART_ROWS: Final = 1_000_000
_GAP_MS: Final = 60
_START: Final = np.datetime64("2023-11-16T18:15:46", "ms")


def write_trace(path: Path, rows: int) -> None:
    """Write a CSV in the format of the Azure 2023 traces: arrivals 60 ms apart on average, log-normal lengths."""
    random = np.random.default_rng(0)
    now_ms = 0
    with path.open("wb") as file:
        for first in range(0, rows, _PART_ROWS):
            count = min(_PART_ROWS, rows - first)
            arrived_ms = now_ms + np.cumsum(random.geometric(1 / _GAP_MS, count))
            now_ms = int(arrived_ms[-1])
            part = pl.DataFrame(
                {
                    "TIMESTAMP": pl.Series(_START + arrived_ms.astype("timedelta64[ms]")),
                    "ContextTokens": random.lognormal(6.9, 1.0, count).astype(np.int64) + 1,
                    "GeneratedTokens": random.lognormal(4.8, 0.9, count).astype(np.int64) + 1,
                }
            )
            part.write_csv(file, include_header=first == 0, datetime_format="%Y-%m-%d %H:%M:%S%.3f0000")


def run(rows: int = ROWS) -> dict[str, Any]:
    """Write the file to a temporary folder; read it and scan it, each in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "azure.csv"
        write_trace(path, rows)
        file_bytes = path.stat().st_size
        scanned, read = (measure(["-m", "bench.traces", mode, str(path)]) for mode in ("scan", "read"))
    scan_s, read_s = _seconds(scanned, rows), _seconds(read, rows)
    return {
        "rows": rows,
        "file_bytes": file_bytes,
        "scan_s": scan_s,
        "read_s": read_s,
        "rows_per_s": rows / read_s,
        "peak_rss_bytes": read.peak_rss_bytes,
        "scan_peak_rss_bytes": scanned.peak_rss_bytes,
        "ratio_read_to_scan": read_s / scan_s,
    }


def _seconds(measured: Measured, rows: int) -> float:
    printed = json.loads(measured.output)
    if printed["rows"] != rows:
        raise RuntimeError(f"{printed['rows']:,} of {rows:,} rows were read")
    return float(printed["seconds"])


def _scan(path: str) -> int:
    frame = pl.scan_csv(path, try_parse_dates=True).collect()
    return frame.height


def _read(path: str) -> int:
    from meritorder.traces.read import read_trace  # noqa: PLC0415  (not needed for the plain scan)

    return read_trace([path]).requests.height


if __name__ == "__main__":
    count_rows = {"scan": _scan, "read": _read}[sys.argv[1]]
    started = time.perf_counter()
    rows_read = count_rows(sys.argv[2])
    print(json.dumps({"rows": rows_read, "seconds": time.perf_counter() - started}))
