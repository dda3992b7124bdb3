"""Retention, on a gateway whose clock stands four days after its first request."""

import asyncio
import dataclasses
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.samples.batches import begin_batch
from tests.samples.service import call, open_service

from meritorder.errors import ConfigError
from meritorder.gateway.app.administration import Administration
from meritorder.gateway.app.service import Service
from meritorder.gateway.store.billing import capacity, ledger
from meritorder.gateway.store.billing.capacity import CapacityRecord
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.schema import BATCHES, DAILY_COSTS, FILES, LEDGER, STORED_ANSWERS
from meritorder.gateway.workers.retention import Retention
from meritorder.study.ledger.days import account_days

DAY = 20_000
NOW_S = (DAY + 4) * 86_400.0 + 7200.0
GPU = {"name": "v", "url": "http://127.0.0.1:1/v1", "models": ["m"], "usd_per_hour": 3600}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "gateway.toml").write_text(f'[store]\nurl = "sqlite:///{tmp_path}/gateway.db"\n')
    with open_service(tmp_path, venue=[GPU], retention={"ledger": "2d", "bodies": "3d"}) as service:
        yield service


def _add(service: Service, *rows: dict[str, Any]) -> None:
    """Add attempts of ten seconds on a machine that costs a dollar a second; `at_s` counts from the first day."""
    fields: dict[str, Any] = {"lane": "realtime", "tenant": "t", "key_id": "k", "model": "m", "endpoint": "/"}
    fields |= {"ttft_s": None, "status_code": 200, "input_tokens": 3, "output_tokens": 4, "counted": True}
    fields |= {"venue": "v", "replica": "v", "price_basis": "machine", "outcome": "answered", "cost_picousd": 7}
    entries = []
    for number, row in enumerate(rows):
        start_s = DAY * 86_400.0 + row["at_s"]
        times = {"arrived_s": start_s, "started_s": start_s, "ended_s": start_s + 10.0}
        more = {name: value for name, value in row.items() if name != "at_s"}
        entries.append(LedgerEntry(**{"request_id": f"r{number}", **fields, **times, **more}))
    assert service.context.database.submit(partial(ledger.add, entries=entries)).result() == 0


def _rent(service: Service, hours: float) -> None:
    start_s = DAY * 86_400.0
    record = CapacityRecord(
        id="c",
        venue="v",
        replica="v",
        machine="",
        pricing_model="on_demand",
        picousd_per_hour=3600 * 10**12,
        minimum_billing_s=0.0,
        started_s=start_s,
        ready_s=start_s,
        seen_s=start_s + hours * 3600.0,
    )
    service.context.database.submit(lambda connection: capacity.save(connection, [record])).result()


def _clean(service: Service) -> None:
    context = dataclasses.replace(service.context, now_s=lambda: NOW_S)
    asyncio.run(Retention(context, service._receipts).clean())


def _count(service: Service, table: Any) -> int:  # noqa: ANN401
    query = select(func.count()).select_from(table)
    return service.context.database.read_now(lambda connection: connection.execute(query).scalar_one())


def _paid_by_day(folder: Path) -> dict[str, tuple[Decimal, int]]:
    with Administration(folder / "gateway.toml") as store:
        report = account_days(store, ("day", "tenant"), from_s=None, to_s=None)
    return {f"{row.by['day']} {row.by['tenant']}": (row.paid_usd, row.requests) for row in report.rows}


def test_rows_go_and_money_stays(service: Service, tmp_path: Path) -> None:
    """Two hours of a machine at a dollar a second: two requests of ten seconds on the first day, one on the third."""
    _rent(service, 2)
    _add(service, {"at_s": 0}, {"at_s": 100, "tenant": "u"}, {"at_s": 2.5 * 86_400})
    before = _paid_by_day(tmp_path)
    assert before["2024-10-04 t"] == (10, 1)
    assert before["2024-10-04 (idle)"] == (7180, 0)
    _clean(service)
    assert _count(service, LEDGER) == 1
    assert _paid_by_day(tmp_path) == before
    totals = service.context.database.read_now(ledger.totals)
    assert [(row["requests"], row["cost_picousd"]) for row in totals] == [(3, 21)]
    assert service.context.database.read_now(ledger.cost_by_key) == {"k": 21}


def test_rows_that_come_late_are_counted(service: Service, tmp_path: Path) -> None:
    """A killed gateway's journal is read when its day is sealed already; what was idle stays idle."""
    _rent(service, 2)
    _add(service, {"at_s": 0})
    _clean(service)
    _add(service, {"at_s": 50}, {"at_s": 86_390, "venue": "api", "price_basis": "tokens", "cost_picousd": 10**12})
    _clean(service)
    assert _count(service, LEDGER) == 0
    assert _paid_by_day(tmp_path) == {"2024-10-04 t": (10, 2), "2024-10-04 (idle)": (7190, 0), "2024-10-05 t": (1, 1)}


def test_rows_are_needed_by_hour(service: Service, tmp_path: Path) -> None:
    _add(service, {"at_s": 0})
    _clean(service)
    with Administration(tmp_path / "gateway.toml") as store:
        day_s = DAY * 86_400.0
        with pytest.raises(ConfigError, match="the rows before 2024-10-06 are deleted"):
            account_days(store, ("day",), from_s=day_s + 5.0, to_s=None)
        assert account_days(store, ("day",), from_s=day_s, to_s=day_s + 86_400).requests == 1


def test_batch_gets_its_receipt_first(service: Service) -> None:
    """The rows of a batch that is not over are kept with those of its day; its receipt is issued before they go."""
    begin_batch(service.context, lines=1)
    _rent(service, 2)
    _add(service, {"at_s": 0, "batch_seq": 1, "lane": "deferrable"})
    _clean(service)
    assert _count(service, LEDGER) == 1
    values = {"status": "completed", "completed_s": DAY * 86_400.0 + 10, "tenant": "default"}
    change = BATCHES.update().values(**values)
    service.context.database.submit(lambda connection: connection.execute(change)).result()
    _clean(service)
    assert _count(service, LEDGER) == 0
    assert call(service, "GET", "/v1/batches/batch_1/receipt").json["receipt"]["paid_usd"] == 10


def test_bodies_are_deleted_by_age(service: Service) -> None:
    file = {"id": "f", "tenant": "t", "filename": "f", "purpose": "batch", "bytes": 1, "blob": "b"}
    answer = {"id": "r", "kind": "response", "tenant": "t", "status": "completed", "request": b"{}"}

    def add(connection: Any) -> None:  # noqa: ANN401
        for name, age_s in (("old", 4 * 86_400), ("new", 2 * 86_400)):
            created = {"created_s": NOW_S - age_s, "id": name}
            connection.execute(FILES.insert().values(file | created))
            connection.execute(STORED_ANSWERS.insert().values(answer | created))
        pending = {"created_s": 0.0, "id": "pending", "status": "queued"}
        connection.execute(STORED_ANSWERS.insert().values(answer | pending))

    service.context.database.submit(add).result()
    _clean(service)
    kept = select(FILES.c.id).where(FILES.c.deleted_s.is_(None))
    read = service.context.database.read_now
    assert read(lambda connection: connection.execute(kept).scalars().all()) == ["new"]
    assert set(read(lambda connection: connection.execute(select(STORED_ANSWERS.c.id)).scalars())) == {"new", "pending"}


def test_sums_are_deleted_last(tmp_path: Path) -> None:
    with open_service(tmp_path, venue=[GPU], retention={"ledger": "2d", "sums": "3d"}) as service:
        _add(service, {"at_s": 0}, {"at_s": 1.5 * 86_400})
        _clean(service)
        assert (_count(service, LEDGER), _count(service, DAILY_COSTS)) == (0, 1)
