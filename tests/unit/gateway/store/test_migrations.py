"""Migrations of the store."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from meritorder.errors import ConfigError
from meritorder.gateway.store import keys, migrations
from meritorder.gateway.store.billing import receipts
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key, Rates
from meritorder.gateway.store.queue import batches, requests
from meritorder.gateway.store.quotas import admission
from meritorder.gateway.store.quotas.admission import Demand
from meritorder.gateway.store.schema import DAILY_COSTS, LEDGER, METADATA
from meritorder.gateway.workers.daily_costs import sum_days


def test_migrations_lead_to_the_schema(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    migrations.upgrade(database)  # again: nothing to do


def test_newest_migration_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.NEWEST]


def test_newer_store_is_one_line(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match=r"store\.url: the store is of another version.*upgrade meritorder"):
        migrations.upgrade(database)


def test_missing_database_is_one_line(tmp_path: Path) -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1")
    with pytest.raises(ConfigError, match=r"store\.url: cannot be used"):
        migrations.upgrade(database)
    database.close()
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is not a database" * 100)
    database = Database(f"sqlite:///{broken}")
    with pytest.raises(ConfigError, match="not a database"):
        migrations.upgrade(database)
    database.close()


def downgrade(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with database.engine.connect() as connection, migrations.without_foreign_keys(connection), connection.begin():
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_rows_survive_new_constraints(database: Database) -> None:
    """Down to the tables of revision 5 and up again, with a batch that requests refer to."""
    values = {"id": "b", "tenant": "t", "endpoint": "/", "completion_window": "1h", "input_file_id": "f"}
    request = {"tenant": "t", "endpoint": "/", "model": "m", "body_bytes": 2, "input_tokens": 1, "output_tokens": 1}
    request |= {"prefix": 0, "arrived_s": 0.0, "line": 1}

    row = {"request_id": "r", "arrived_s": 1.0, "ended_s": 2.0, "lane": "realtime", "tenant": "t", "model": "m"}
    row |= {"endpoint": "/", "input_tokens": 3, "cached_tokens": 0, "output_tokens": 4, "lost_tokens": 0}
    row |= {"counted": True, "cost_picousd": 5}

    def add(connection: Connection) -> None:
        batch = batches.add(connection, **values, created_s=0.0, expires_s=1.0)
        requests.add(connection, [request | {"batch_seq": batch.seq, "deadline_s": 1.0, "state": "queued"}])
        connection.execute(LEDGER.insert().values(row))

    database.submit(add).result()
    downgrade(database, "0005")
    migrations.upgrade(database)
    found = database.read_now(lambda connection: batches.get(connection, "t", "b"))
    assert found is not None
    assert asyncio.run(sum_days(database, 2 * 86_400.0)) == 1
    (cost,) = database.read_now(lambda connection: connection.execute(DAILY_COSTS.select()).all())
    assert (cost.tenant, cost.paid_picousd, cost.input_tokens, cost.output_tokens) == ("t", 5, 3, 4)
    assert database.read_now(lambda connection: batches.delete_some_requests(connection, found.seq))


def test_receipts_survive_those_of_requests(database: Database) -> None:
    """Down to the tables of revision 16 and up again: batches keep their receipts, and rows are found by request."""
    for subject_id in ("batch_1", "req_1"):
        add = partial(receipts.add, tenant="t", subject_id=subject_id, body=subject_id.encode(), now_s=1.0)
        database.submit(add).result()
    row = {"request_id": "req_2", "arrived_s": 1.0, "ended_s": 2.0, "lane": "deferrable", "tenant": "t", "model": "m"}
    row |= {"endpoint": "/", "input_tokens": 3, "cached_tokens": 0, "output_tokens": 4, "lost_tokens": 0}
    row |= {"counted": True, "deadline_s": 9.0}
    database.submit(lambda connection: connection.execute(LEDGER.insert().values(row))).result()
    downgrade(database, "0016")
    migrations.upgrade(database)
    get = partial(receipts.get, tenant="t")
    assert database.read_now(lambda connection: get(connection, subject_id="batch_1")) == b"batch_1"
    assert database.read_now(lambda connection: get(connection, subject_id="req_1")) is None
    ended = database.read_now(partial(receipts.find_request, tenant="t", request_id="req_2"))
    assert ended is not None
    assert (ended.ended_s, ended.deadline_s) == (2.0, 9.0)


def test_windows_of_keys_survive_rates_of_teams(database: Database) -> None:
    """What a key has used in the last minute counts after the upgrade; a team's is forgotten by the way back."""
    key = Key(id="key_a", name="a", tenant="t", requests_per_minute=3, team="search")
    team = Rates(id=keys.team_id("search"), requests_per_minute=9)

    def admit(connection: Connection) -> int:
        limited = replace(key, team_rates=team)
        return admission.admit(connection, "x", limited, [Demand()] * 2, now_s=1000.0).accepted

    database.submit(lambda connection: keys.add(connection, key, "secret", now_s=0.0)).result()
    assert database.submit(admit).result() == 2
    downgrade(database, "0013")
    migrations.upgrade(database)
    assert database.submit(admit).result() == 1
    assert database.read_now(keys.read).by_id["key_a"] == key
