"""Costing of a ledger of ten million attempts: seconds, peak memory, and the ratio to a plain scan and sum."""

import json
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from bench._process import measure
from meritorder.metering.capacity import PaidCapacity
from meritorder.study.ledger.answer import write_capacity
from meritorder.units import BYTES_PER_GIB, SECONDS_PER_DAY

ROWS: Final = 10_000_000
_REPLICAS: Final = 40
_START_S: Final = 1_795_996_800.0  # 2026-11-30
_DAYS: Final = 30
_CHUNK: Final = 1_000_000
_SEED: Final = 7
_BY: Final = "hour,tenant,model"


def write_ledger(path: Path, rows: int) -> None:
    """Write attempts of a month, in the order of their ends: 9 of 10 on replicas, the others at a token API."""
    random = np.random.default_rng(_SEED)
    count = -(-rows // _CHUNK)
    folder = path.with_suffix("")
    folder.mkdir()
    for number in range(count):
        size = min(_CHUNK, rows - number * _CHUNK)
        span_s = _DAYS * SECONDS_PER_DAY / count
        started = _START_S + number * span_s + np.sort(random.random(size)) * span_s
        replica = random.integers(0, _REPLICAS, size)
        on_machine = random.random(size) < 0.9
        names = {
            "tenant": random.integers(0, 50, size),
            "model": random.integers(0, 3, size),
            "workload": random.integers(0, 8, size),
        }
        pl.DataFrame(
            {
                "request_id": np.arange(number * _CHUNK, number * _CHUNK + size),
                "attempt": np.ones(size, dtype=np.int32),
                "lane": np.where(random.random(size) < 0.6, "realtime", "deferrable"),
                "venue": np.where(on_machine, "gpu", "api"),
                "replica": replica,
                "arrived_s": started - random.exponential(2.0, size),
                "started_s": started,
                "ended_s": started + random.exponential(20.0, size),
                "status_code": np.full(size, 200, dtype=np.int32),
                "input_tokens": random.integers(10, 4000, size),
                "output_tokens": random.integers(1, 800, size),
                "cost_picousd": random.integers(0, 10**10, size),
                **names,
            }
        ).with_columns(
            *(pl.format(f"{name}-{{}}", pl.col(name)) for name in names),
            pl.format("req_{}", "request_id"),
            pl.when(pl.col("venue") == "gpu").then(pl.format("r{}", "replica")).alias("replica"),
            pl.when(pl.col("venue") == "gpu").then(pl.lit("machine")).otherwise(pl.lit("tokens")).alias("price_basis"),
            pl.when(pl.col("venue") == "api").then(pl.col("cost_picousd")).alias("cost_picousd"),
        ).write_parquet(folder / f"{number:04}.parquet")
    pl.scan_parquet(folder / "*.parquet").sink_parquet(path, row_group_size=250_000)


def paid_capacity() -> list[PaidCapacity]:
    """Return replicas that run for a month, whose price changes in its middle."""
    end_s, middle_s = _START_S + _DAYS * SECONDS_PER_DAY, _START_S + _DAYS / 2 * SECONDS_PER_DAY + 1234.5
    return [
        PaidCapacity(
            venue="gpu",
            replica=f"r{number}",
            started_s=from_s,
            ready_s=_START_S + 300.0,
            ended_s=to_s,
            usd_per_hour=Decimal(usd),
        )
        for number in range(_REPLICAS)
        for from_s, to_s, usd in ((_START_S, middle_s, "3.79"), (middle_s, end_s, "2.99"))
    ]


def plain_sum_s(path: Path) -> float:
    """Return the time of a plain sum of tokens and times by hour, tenant and model."""
    started_s = time.perf_counter()
    hour = (pl.col("ended_s") // 3600).cast(pl.Int32).alias("hour")
    sums = (pl.col("input_tokens").sum(), (pl.col("ended_s") - pl.col("started_s")).sum())
    pl.scan_parquet(path).group_by(hour, "tenant", "model").agg(*sums).collect(engine="streaming")
    return time.perf_counter() - started_s


def run(rows: int = ROWS) -> dict[str, Any]:
    """Cost a ledger with the whole command, imports and JSON included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, answer = folder / "month.parquet", folder / "answer.json"
        # A process inherits the peak memory of its parent, so expensive steps run in their own processes.
        measure(["-m", "bench.ledger", "make", str(path), str(rows)])
        plain_s = float(measure(["-m", "bench.ledger", "sum", str(path)]).output)
        capacity = paid_capacity()
        write_capacity(folder / "month.capacity.csv", capacity)
        done = measure(["-m", "meritorder", "ledger", str(path), "--by", _BY, "--json", str(answer)])
        report = json.loads(answer.read_text(), parse_float=Decimal, parse_int=Decimal)
    rented_usd = sum(
        (Decimal(record.ended_s) - Decimal(record.started_s)) * (record.usd_per_hour or 0) / 3600 for record in capacity
    )
    tokens_usd = sum(use["paid_usd"] for use in report["by_use"] if use["use"] == "tokens")
    return {
        "rows": rows,
        "groups": len(report["rows"]),
        "seconds": done.seconds,
        "cpu_seconds": done.cpu_seconds,
        "peak_gib": done.peak_rss_bytes / BYTES_PER_GIB,
        "plain_sum_s": plain_s,
        "ratio": done.seconds / plain_s,
        "paid_usd": float(report["paid_usd"]),
        "missing_usd": float(rented_usd + tokens_usd - report["paid_usd"]),
    }


if __name__ == "__main__":
    if sys.argv[1] == "make":
        write_ledger(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        print(plain_sum_s(Path(sys.argv[2])))
