"""Audits of synthetic bills and traces."""

import datetime as dt
from collections.abc import Callable, Iterable
from pathlib import Path

import polars as pl
import pytest
from tests.samples.charges import START, Row, write

from meritorder import bills, traces
from meritorder.records.findings import Audit, Finding
from meritorder.study.audit.answer import audit
from meritorder.study.audit.context import AuditOptions
from meritorder.traces.read import read_trace

Audited = Callable[..., Audit]
MakeTrace = Callable[..., traces.Trace]

DAY = 24
WEEKS = 26 * 24
MONTH = range(WEEKS)
DEFERRABLE = {"latency_class": "deferrable"}


@pytest.fixture
def audited(tmp_path: Path) -> Audited:
    """Audit a bill of these line items."""

    def run(rows: Iterable[Row], options: AuditOptions | None = None, **more: object) -> Audit:
        path = write(tmp_path / "bill.csv", rows)
        return audit(bills.read(path), options or AuditOptions(bill=("bill.csv",)), **more)  # type: ignore[arg-type]

    return run


@pytest.fixture
def trace(tmp_path: Path) -> MakeTrace:
    """Make a trace with these counts of requests in the hours after `START`, all alike, the first on the hour."""

    def make(counts: Iterable[int], *, dated: bool = True, tenants: tuple[str, ...] = ("a",)) -> traces.Trace:
        rows = []
        for hour, count in enumerate(counts):
            for i in range(count):
                at = START + dt.timedelta(hours=hour, seconds=3600 * i / count)
                rows.append(
                    {
                        "timestamp": at.isoformat() if dated else (at - START).total_seconds(),
                        "input_tokens": 1000,
                        "output_tokens": 250,
                        "model": "llama-3.1-8b",
                        "tenant": tenants[i % len(tenants)],
                    }
                )
        path = tmp_path / "requests.csv"
        pl.DataFrame(rows).write_csv(path)
        return read_trace(path)

    return make


def only(answer: Audit, kind: str) -> Finding:
    """Return the one finding of a kind."""
    found = [finding for finding in answer.findings if finding.kind == kind]
    assert len(found) == 1, [finding.kind for finding in answer.findings]
    return found[0]


def kinds(answer: Audit) -> set[str]:
    """Return the kinds of all findings."""
    return {finding.kind for finding in answer.findings}
