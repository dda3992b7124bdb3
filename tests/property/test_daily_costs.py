"""The sums by day are what the rows add up to, whatever comes late, is killed in between, or is deleted.

The other computation is that of `meritorder ledger` from all rows, which sums nothing by day.
"""

import asyncio
import shutil
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from tests.samples.stores import copy_migrated

from meritorder.gateway.app.administration import Administration
from meritorder.gateway.store.billing import capacity, daily, ledger
from meritorder.gateway.store.billing.capacity import CapacityRecord
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.database import Database
from meritorder.gateway.workers import daily_costs
from meritorder.metering.capacity import Paid
from meritorder.records.accounting import LedgerReport
from meritorder.study.ledger.answer import account, cost_all, of_tenant, whole_period
from meritorder.study.ledger.attempts import ATTEMPTS, from_columns
from meritorder.study.ledger.days import account_days

_FIRST_DAY = 20_000
_DAYS = 3
_END_S = (_FIRST_DAY + _DAYS + 1) * 86_400.0
_BY = ("day", "tenant", "workload", "lane", "model", "venue", "use")
_PICOUSD = Decimal(1).scaleb(-12)
_hours = st.floats(0, 24 * _DAYS, allow_nan=False).map(lambda hour: round(hour * 3600) + _FIRST_DAY * 86_400.0)


def _account(folder: Path, tenant: str | None = None) -> LedgerReport:
    with Administration(folder / "gateway.toml") as store:
        return account_days(store, _BY, from_s=None, to_s=None, tenant=tenant)


@st.composite
def _entries(draw: st.DrawFn) -> LedgerEntry:
    """An attempt on a machine that is paid, or not, or at a token API with or without a price."""
    start_s, end_s = sorted((draw(_hours), draw(_hours)))
    venue = draw(st.sampled_from(["gpu", "gpu", "gpu", "api", None]))
    promised = draw(st.booleans())
    return LedgerEntry(
        request_id=f"r{draw(st.integers(0, 5))}",
        arrived_s=start_s,
        started_s=draw(st.sampled_from([start_s, start_s, None])),
        ended_s=end_s,
        ttft_s=None,
        lane="deferrable" if promised else "realtime",
        tenant=draw(st.sampled_from(["a", "b"])),
        key_id=draw(st.sampled_from([None, "k"])),
        model="m",
        endpoint="/v1/completions",
        venue=venue,
        workload=draw(st.sampled_from([None, "w"])),
        deadline_s=draw(_hours) if promised else None,
        status_code=draw(st.sampled_from([200, 200, 499, 500, None])),
        input_tokens=draw(st.integers(0, 2**31 - 1)),
        output_tokens=draw(st.integers(0, 9)),
        counted=True,
        cost_picousd=draw(st.sampled_from([None, 0, 2**55])) if venue == "api" else None,
        replica=draw(st.sampled_from(["r0", "r1"])) if venue == "gpu" else None,
        outcome=draw(st.sampled_from([None, "answered", "preempted"])),
        price_basis={"gpu": "machine", "api": "tokens"}.get(venue or ""),
    )


@st.composite
def _replicas(draw: st.DrawFn) -> list[CapacityRecord]:
    records = []
    for number in range(draw(st.integers(1, 2))):
        start_s, end_s = sorted((draw(_hours), draw(_hours)))
        records.append(
            CapacityRecord(
                id=f"c{number}",
                kind=draw(st.sampled_from(["replica", "replica", "commitment"])),
                venue="gpu",
                replica=f"r{number}",
                machine="",
                pricing_model="on_demand",
                picousd_per_hour=draw(st.sampled_from([3_790_000_000_001, 98_320_000_000_000])),
                minimum_billing_s=draw(st.sampled_from([0.0, 100_000.0])),
                started_s=start_s,
                ready_s=draw(st.sampled_from([start_s, end_s, None])),
                seen_s=end_s,
            )
        )
    return records


def _from_rows(rows: Sequence[LedgerEntry], paid: Sequence[Paid], tenant: str | None = None) -> LedgerReport:
    names = [column.name for column in ATTEMPTS if column.name != "team"]
    attempts = from_columns({name: [getattr(row, name) for row in rows] for name in names})
    costed = cost_all(attempts, paid, whole_period(attempts, paid))
    return account(costed if tenant is None else of_tenant(costed, tenant), _BY)


def _assert_equal(report: LedgerReport, expected: LedgerReport) -> None:
    """Check sums: the total to the picodollar."""
    assert report.paid_usd == expected.paid_usd
    assert report.by_use == expected.by_use
    _assert_equal_groups(report, expected)


def _assert_equal_groups(report: LedgerReport, expected: LedgerReport) -> None:
    """Check the sums of groups: shares of a machine may round differently by a picodollar an hour."""
    assert report.deadlines == expected.deadlines
    paid, work = (_by_group(report), _by_group(expected))
    assert {name: sums[1:] for name, sums in paid.items()} == {name: sums[1:] for name, sums in work.items()}
    for name, (usd, *_) in paid.items():
        assert abs(usd - work[name][0]) <= 24 * _PICOUSD


def _by_group(report: LedgerReport) -> dict[tuple[str, ...], tuple[Any, ...]]:
    groups = {
        tuple(row.by.values()): (row.paid_usd, row.requests, row.attempts, row.input_tokens, row.output_tokens)
        for row in report.rows
    }
    return {name: sums for name, sums in groups.items() if any(sums)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_migrated(tmp_path / "empty.db")
    (tmp_path / "gateway.toml").write_text(f'[store]\nurl = "sqlite:///{tmp_path}/store.db"\n')
    return tmp_path


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), entries=st.lists(_entries(), max_size=12), replicas=_replicas())
def test_days_sum_to_the_rows(data: st.DataObject, folder: Path, entries: list[LedgerEntry], replicas: Any) -> None:  # noqa: ANN401
    """Rows come in any order before and after days are summed; a summing that is killed has changed nothing."""
    shutil.copyfile(folder / "empty.db", folder / "store.db")
    database = Database(f"sqlite:///{folder}/store.db")
    try:
        database.submit(lambda connection: capacity.save(connection, replicas)).result()
        remaining = list(entries)
        while True:
            count = data.draw(st.integers(0, len(remaining)), label="added")
            added, remaining = remaining[:count], remaining[count:]
            database.submit(partial(ledger.add, entries=added)).result()
            day = _FIRST_DAY + data.draw(st.integers(0, _DAYS), label="day")
            after_seq = database.submit(daily.last_seq).result()
            costs = database.read_now(partial(daily_costs.costs_of_day, day=day))
            late, remaining = remaining[:1], remaining[1:]
            database.submit(partial(ledger.add, entries=late)).result()  # while the day is summed
            if data.draw(st.booleans(), label="killed"):
                continue
            database.submit(partial(daily.save, day=day, costs=costs, after_seq=after_seq)).result()
            if not remaining:
                break
        paid = database.read_now(capacity.paid)
        expected, of_a = _from_rows(entries, paid), _from_rows(entries, paid, "a")
        for _ in range(2):
            _assert_equal(_account(folder), expected)
            _assert_equal_groups(_account(folder, "a"), of_a)
            asyncio.run(daily_costs.sum_days(database, _END_S + 7200.0))
        for day in database.read_now(daily.summed_days):
            assert database.submit(partial(daily.seal, day=day)).result()
        while database.submit(partial(daily.delete_some_rows, venues=())).result():
            pass
        assert not database.read_now(partial(ledger.columns, names=["model"], from_s=0.0, to_s=_END_S))["model"]
        _assert_equal(_account(folder), expected)
    finally:
        database.close()
