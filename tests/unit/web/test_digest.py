"""The digest is sent when its schedule comes, once for all gateways that share a store."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.samples.stores import copy_migrated

from meritorder.gateway.store.billing import capacity
from meritorder.gateway.store.billing.capacity import CapacityRecord
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.schema import WEBHOOKS
from meritorder.web import digest

_DAY_S = 86_400.0
_MONDAY_S = 1_795_996_800.0 + _DAY_S * 7  # 2026-12-07, 00:00 UTC


class _EndedError(Exception):
    """The clock of the test has run out."""


class _Clock:
    """A clock that only sleeping moves, until it has slept some times."""

    def __init__(self, at_s: float, sleeps: int) -> None:
        self.at_s, self.left = at_s, sleeps

    def now(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        if not self.left:
            raise _EndedError
        self.at_s, self.left = self.at_s + seconds, self.left - 1


def _config(folder: Path, *, rented: bool = True) -> Path:
    copy_migrated(folder / "store.db")
    receiver = '[[webhook]]\nurl = "https://hooks.slack.test/secret"\nformat = "slack"\n'
    (folder / "gateway.toml").write_text(f'[store]\nurl = "sqlite:///{folder}/store.db"\n{receiver}')
    if rented:
        machine = CapacityRecord(
            id="c0",
            venue="gpu",
            replica="r0",
            machine="",
            pricing_model="on_demand",
            picousd_per_hour=10**12,
            minimum_billing_s=0.0,
            started_s=_MONDAY_S - 3 * _DAY_S,
            ready_s=_MONDAY_S - 3 * _DAY_S,
            seen_s=_MONDAY_S + 30 * _DAY_S,
        )
        database = Database(f"sqlite:///{folder}/store.db")
        database.submit(lambda connection: capacity.save(connection, [machine])).result()
        database.close()
    return folder / "gateway.toml"


def _texts(folder: Path) -> list[Any]:
    database = Database(f"sqlite:///{folder}/store.db")
    bodies = database.read_now(lambda connection: connection.execute(select(WEBHOOKS.c.body)).scalars().all())
    database.close()
    return [json.loads(body)["text"] for body in bodies]


def _run(config: Path, clock: _Clock) -> None:
    with pytest.raises(_EndedError):
        digest._run("0 8 * * mon", config, clock.now, clock.sleep)


def test_digest_is_sent_each_monday(tmp_path: Path) -> None:
    """A machine of $24 a day, for three days of the first week and seven of the second; a second gateway adds none."""
    config = _config(tmp_path)
    for _ in range(2):
        clock = _Clock(_MONDAY_S, sleeps=2)
        _run(config, clock)
        assert clock.at_s == _MONDAY_S + 7 * _DAY_S + 8 * 3600
    first, second = _texts(tmp_path)
    assert "2026-11-30 to 2026-12-06: $72.00 were paid" in first
    assert "2026-12-07 to 2026-12-13: $168.00 were paid" in second


def test_empty_week_is_logged_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _run(_config(tmp_path, rented=False), _Clock(_MONDAY_S, sleeps=2))
    assert [record.getMessage() for record in caplog.records] == [
        "the digest was not sent: ledger: no attempt and no paid capacity; serve some requests first"
    ] * 2
    assert _texts(tmp_path) == []
