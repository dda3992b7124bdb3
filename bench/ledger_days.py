"""A query by day and tenant of a gateway's ledger of ten million rows on SQLite: seconds, and of summing its days."""

import asyncio
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench._process import measure
from meritorder.gateway.store import migrations
from meritorder.gateway.store.database import Database
from meritorder.gateway.workers.daily_costs import sum_days
from meritorder.units import SECONDS_PER_DAY

ROWS: Final = 10_000_000
_DAYS: Final = 30
_REPLICAS: Final = 40
_FIRST_DAY: Final = 20_500
# Attempts of a month, in the order of their ends: 9 of 10 on replicas, the others at a token API.
_FILL: Final = """
    WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :rows),
    drawn AS MATERIALIZED (SELECT n, :first_s + n * (:span_s / :rows) AS ended_s, abs(random()) AS draw FROM numbers)
    INSERT INTO ledger (request_id, arrived_s, started_s, ended_s, lane, tenant, key_id, model, endpoint, venue,
        workload, status_code, input_tokens, cached_tokens, output_tokens, lost_tokens, counted, cost_picousd, replica,
        outcome, price_basis)
    SELECT 'req_' || n, ended_s - 21, ended_s - draw % 20000 / 1000.0, ended_s,
        iif(draw % 10 < 6, 'realtime', 'deferrable'), 'tenant-' || (draw / 10 % 50), 'key-' || (draw / 10 % 50),
        'model-' || (draw / 500 % 3), '/v1/completions', iif(draw / 1500 % 10 < 9, 'gpu', 'api'),
        'workload-' || (draw / 15000 % 8), 200, 10 + draw / 120000 % 4000, 0, 1 + draw / 120000 % 800, 0, 1,
        iif(draw / 1500 % 10 < 9, NULL, draw % 10000000000),
        iif(draw / 1500 % 10 < 9, 'r' || (draw / 120000 % 40), NULL), 'answered',
        iif(draw / 1500 % 10 < 9, 'machine', 'tokens')
    FROM drawn
"""
_RENT: Final = """
    INSERT INTO capacity (id, kind, venue, replica, machine, pricing_model, picousd_per_hour, minimum_billing_s,
        started_s, ready_s, seen_s)
    VALUES (:id, 'replica', 'gpu', :replica, '', 'on_demand', 3790000000000, 0, :first_s, :first_s, :end_s)
"""


def fill(path: Path, rows: int) -> None:
    """Write the ledger of a month."""
    database = Database(f"sqlite:///{path}")
    migrations.upgrade(database)
    database.close()
    first_s, span_s = _FIRST_DAY * SECONDS_PER_DAY, _DAYS * SECONDS_PER_DAY
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(_FILL, {"rows": rows, "first_s": first_s, "span_s": span_s})
        times = {"first_s": first_s, "end_s": first_s + span_s}
        for number in range(_REPLICAS):
            connection.execute(_RENT, times | {"id": f"c{number}", "replica": f"r{number}"})


def sum_all(path: Path) -> float:
    """Sum all days, and return the seconds that it takes."""
    database = Database(f"sqlite:///{path}")
    started_s = time.perf_counter()
    days = asyncio.run(sum_days(database, (_FIRST_DAY + _DAYS + 1) * SECONDS_PER_DAY))
    seconds = time.perf_counter() - started_s
    database.close()
    assert days == _DAYS  # noqa: S101 - the rows are of whole days
    return seconds


def run(rows: int = ROWS) -> dict[str, Any]:
    """Query with the whole command, and without its imports."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "gateway.db"
        measure(["-m", "bench.ledger_days", "fill", str(path), str(rows)])
        answer = folder / "answer.json"
        config = path.with_suffix(".toml")
        config.write_text(f'[store]\nurl = "sqlite:///{path}"\n')
        command = ["-m", "meritorder", "ledger", "--config", str(config), "--by", "day,tenant", "--json", str(answer)]
        summed = measure(["-m", "bench.ledger_days", "sum", str(path)])
        query_s, query_cpu_s = measure(["-m", "bench.ledger_days", "query", str(config)]).output.split()
        return {
            "rows": rows,
            "summing_all_days_s": float(summed.output),
            "summing_peak_mib": summed.peak_rss_bytes / 2**20,
            "command_s": measure(command).seconds,
            "query_s": float(query_s),
            "query_cpu_s": float(query_cpu_s),
            "store_gib": path.stat().st_size / 2**30,
        }


def query(config: Path) -> str:
    """Return the seconds of a query by day and tenant without the imports, and those of the processor."""
    from meritorder.gateway.app.administration import Administration  # noqa: PLC0415 - not of the other steps
    from meritorder.study.ledger.days import account_days  # noqa: PLC0415

    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    with Administration(config) as store:
        report = account_days(store, ("day", "tenant"), from_s=None, to_s=None)
    assert report.rows  # noqa: S101
    return f"{time.perf_counter() - started_s} {time.process_time() - started_cpu_s}"


if __name__ == "__main__":
    action, path = sys.argv[1], Path(sys.argv[2])
    if action == "fill":
        fill(path, int(sys.argv[3]))
    else:
        print({"sum": sum_all, "query": query}[action](path))
