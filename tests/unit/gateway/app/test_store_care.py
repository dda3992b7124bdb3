"""Erasure, backup and restore of a store with everything that a tenant can leave in it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.samples.stores import migrated_store, store_urls

from meritorder.cli.gateway.store import store as store_command
from meritorder.errors import ConfigError
from meritorder.gateway import config_file
from meritorder.gateway.app.administration import Administration
from meritorder.gateway.app.store_care import back_up, erase_tenant, restore
from meritorder.gateway.state.journal import Journal
from meritorder.gateway.store import erasure, keys
from meritorder.gateway.store.billing import daily, ledger
from meritorder.gateway.store.billing.daily import DailyCost
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.queue import batches
from meritorder.gateway.store.schema import (
    ANSWERS,
    FILES,
    LEDGER_REJECTED,
    METADATA,
    PROVIDER_BATCHES,
    QUOTES,
    RECEIPTS,
    REQUESTS,
    STORED_ANSWERS,
)

SECRET = b"a private prompt"


def _entry(tenant: str, number: int) -> LedgerEntry:
    fields: dict[str, Any] = {"lane": "realtime", "model": "m", "endpoint": "/", "venue": "v", "ttft_s": None}
    fields |= {"status_code": 200, "input_tokens": 1, "output_tokens": 1, "counted": True, "cost_picousd": 5}
    times = {"arrived_s": 1.0, "started_s": 1.0, "ended_s": 2.0}
    return LedgerEntry(request_id=f"req_{tenant}_{number}", tenant=tenant, key_id=f"key_{tenant}", **fields, **times)


def _fill(database: Database, tenant: str) -> None:
    """Leave a key, a file, a batch with an answer and a provider batch, a stored answer, and what they cost."""

    def change(connection: Any) -> None:  # noqa: ANN401
        keys.add(connection, Key(id=f"key_{tenant}", name=f"name of {tenant}", tenant=tenant), tenant, now_s=1.0)
        values = {"id": f"batch_{tenant}", "tenant": tenant, "endpoint": "/", "completion_window": "1h"}
        batch = batches.add(connection, **values, input_file_id=f"file_{tenant}", created_s=0.0, expires_s=1.0)
        request = {"batch_seq": batch.seq, "tenant": tenant, "endpoint": "/", "model": "m", "body_bytes": 1}
        request |= {"input_tokens": 1, "output_tokens": 1, "prefix": 0, "arrived_s": 0.0, "deadline_s": 1.0}
        for line, state in enumerate(("running", "queued")):
            more = {"state": state, "line": line, "body": SECRET, "custom_id": tenant}
            connection.execute(REQUESTS.insert().values(request | more))
        seq = connection.execute(select(REQUESTS.c.seq).where(REQUESTS.c.tenant == tenant)).scalars().first()
        connection.execute(ANSWERS.insert().values(request_seq=seq, request_id=tenant, body=SECRET, answered_s=1.0))
        provider = {"id": f"p_{tenant}", "venue": "v", "batch_seq": batch.seq, "created_s": 1.0}
        connection.execute(PROVIDER_BATCHES.insert().values(provider))
        answer = {"id": "r", "kind": "response", "tenant": tenant, "status": "completed", "request": SECRET}
        connection.execute(STORED_ANSWERS.insert().values(answer | {"created_s": 1.0}))
        file = {"id": f"file_{tenant}", "tenant": tenant, "filename": tenant, "purpose": "batch", "bytes": 1}
        connection.execute(FILES.insert().values(file | {"blob": f"blob_{tenant}", "created_s": 1.0}))
        receipt = {"tenant": tenant, "subject_id": batch.id, "body": tenant.encode(), "created_s": 1.0}
        connection.execute(RECEIPTS.insert().values(receipt))
        quote = {"id": f"q_{tenant[0]}", "tenant": tenant, "input_file_id": file["id"], "body": tenant.encode()}
        times = {"created_s": 1.0, "valid_until_s": 1.0, "settled_s": 1.0}
        connection.execute(QUOTES.insert().values(quote | times | {"batch_id": batch.id, "honored": False}))
        connection.execute(LEDGER_REJECTED.insert().values(entry=tenant.encode(), reason="r"))
        ledger.add(connection, [_entry(tenant, number) for number in range(600)])
        day = len(tenant)
        cost = DailyCost(day=day, tenant=tenant, key_id=f"key_{tenant}", lane="realtime", use="tokens", paid_picousd=9)
        daily.save(connection, day, [cost], after_seq=0)

    database.submit(change).result()


def _mentions(database: Database, name: str) -> list[str]:
    """Return the columns in which a name is anywhere."""
    with database.engine.connect() as connection:
        return [
            f"{table.name}.{column.name}"
            for table in METADATA.tables.values()
            for column in table.columns
            for value in connection.execute(select(column)).scalars()
            if name in (value.decode(errors="replace") if isinstance(value, bytes) else str(value))
        ]


@pytest.fixture(params=store_urls())
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Database, Path]]:
    with migrated_store(request.param, tmp_path) as database:
        for tenant in ("alice", "bob"):
            _fill(database, tenant)
            (tmp_path / "blobs").mkdir(exist_ok=True)
            (tmp_path / "blobs" / f"blob_{tenant}").write_bytes(SECRET)
        config = tmp_path / "gateway.toml"
        url = database.engine.url.set(drivername=database.engine.url.get_backend_name())
        text = url.render_as_string(hide_password=False)
        config.write_text(f'[store]\nurl = "{text}"\nblobs = "file://{tmp_path}/blobs"\njournal = "{tmp_path}/j"\n')
        yield database, config


def test_erasure_leaves_the_money(filled: tuple[Database, Path]) -> None:
    database, config = filled
    before = database.read_now(ledger.totals)
    erased = erase_tenant(config, "alice")
    assert (erased.counts["ledger rows"], erased.counts["files"], erased.running) == (600, 1, 1)
    assert _mentions(database, "alice") == []
    assert not (config.parent / "blobs" / "blob_alice").exists()
    assert database.read_now(ledger.totals) == before
    assert (config.parent / "blobs" / "blob_bob").exists()
    assert {"keys.tenant", "requests.tenant", "ledger.tenant", "daily_costs.tenant"} <= set(_mentions(database, "bob"))
    with pytest.raises(ConfigError, match="nothing is stored of tenant 'alice'"):
        erase_tenant(config, "alice")


def test_erased_text_is_not_left_in_the_file(tmp_path: Path) -> None:
    with migrated_store("sqlite", tmp_path) as database:
        _fill(database, "alice")
        config = tmp_path / "gateway.toml"
        config.write_text(f'[store]\nurl = "sqlite:///{tmp_path}/test.db"\n')
        assert erase_tenant(config, "alice").is_rewritten
    content = b"".join(path.read_bytes() for path in tmp_path.glob("test.db*"))
    assert SECRET not in content
    assert b"alice" not in content


def test_interrupted_erasure_is_completed(filled: tuple[Database, Path]) -> None:
    """Each step alone leaves a store that the rest of them can work on."""
    database, config = filled
    for what, step in list(erasure.steps("alice").items())[:5]:
        assert database.submit(step).result() > 0, what
    erase_tenant(config, "alice")
    assert _mentions(database, "alice") == []


def _settings(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "gateway.toml").write_text(f'[store]\nurl = "sqlite:///{folder}/gateway.db"\n')
    return folder / "gateway.toml"


def test_backup_restores_every_row(tmp_path: Path) -> None:
    """While a gateway writes: the entries of its journal that are not in the database yet are restored too."""
    first, second = _settings(tmp_path / "first"), _settings(tmp_path / "second")
    with Administration(first) as administration:
        database = administration._database
        _fill(database, "alice")
        journal = Journal.create(config_file.read(first).journal_folder, "gateway-1")
        journal.append([ledger.encode(_entry("alice", 1000))])
        blobs = first.parent / "blobs"
        blobs.mkdir()
        (blobs / "blob_alice").write_bytes(SECRET)
        (blobs / "unfinished#1").write_bytes(SECRET)
        back_up(first, tmp_path / "copy")
        database.submit(partial(ledger.add, entries=[_entry("late", 1)])).result()
        restore(second, tmp_path / "copy")
        expected = set(_mentions(database, "alice"))
    journal.close()
    with Administration(second) as restored:
        assert set(_mentions(restored._database, "alice")) == expected
        assert not _mentions(restored._database, "late")
    settings = config_file.read(second)
    assert [path.name for path in (tmp_path / "second" / "blobs").iterdir()] == ["blob_alice"]
    assert [path.name for path in settings.journal_folder.iterdir()] == ["gateway-1.journal"]
    with pytest.raises(ConfigError, match=r"gateway\.db is there already"):
        restore(second, tmp_path / "copy")


def test_backup_needs_a_new_folder(tmp_path: Path) -> None:
    config = _settings(tmp_path / "store")
    with pytest.raises(ConfigError, match=r"there is no .*gateway\.db"):
        back_up(config, tmp_path / "copy")
    with pytest.raises(ConfigError, match="exists; name a new folder"):
        back_up(config, tmp_path)
    with pytest.raises(ConfigError, match="is no backup"):
        restore(config, tmp_path)


def test_other_databases_have_their_own_tools(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[store]\nurl = "postgresql://h/d"\nblobs = "file:///tmp/b"\n')
    with pytest.raises(ConfigError, match="PostgreSQL has its own tools to back up; use pg_dump"):
        back_up(config, tmp_path / "copy")
    config.write_text(f'[store]\nurl = "sqlite:///{tmp_path}/g.db"\nblobs = "s3://bucket"\n')
    with pytest.raises(ConfigError, match="an object store has its own tools to restore"):
        restore(config, tmp_path / "copy")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"action": "copy"}, "unknown action 'copy'; write one of backup, restore, erase"),
        ({"action": "erase"}, "give a tenant and no folder"),
        ({"action": "erase", "tenant": "t", "folder": Path("f")}, "give a tenant and no folder"),
        ({"action": "backup"}, "give a folder and no tenant; write: store backup FOLDER"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        store_command(**options, config=Path("gateway.toml"))
