"""Metadata of files."""

from dataclasses import replace

from meritorder.gateway.store import files, heartbeats
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.files import StoredFile
from meritorder.gateway.store.queue import batches

FILE = StoredFile(
    id="file-1", tenant="t", filename="in.jsonl", purpose="batch", bytes=2, blob="b", created_s=0.0, expires_s=10.0
)


def add(database: Database, file: StoredFile) -> None:
    database.submit(lambda connection: files.add(connection, file)).result()


def deletable(database: Database, now_s: float) -> list[str]:
    return [file.id for file in database.read_now(lambda connection: files.deletable(connection, now_s=now_s))]


def test_expired_file_is_hidden_and_deletable(database: Database) -> None:
    add(database, FILE)
    assert database.read_now(lambda connection: files.get(connection, "t", "file-1", now_s=9.0)) == FILE
    assert database.read_now(lambda connection: files.get(connection, "t", "file-1", now_s=10.0)) is None
    assert (deletable(database, 9.0), deletable(database, 10.0)) == ([], ["file-1"])


def test_deleted_input_remains_while_read(database: Database) -> None:
    add(database, FILE)
    created = database.submit(
        lambda connection: batches.add(
            connection,
            id="batch_1",
            tenant="t",
            endpoint="/v1/chat/completions",
            completion_window="1h",
            input_file_id="file-1",
            created_s=0.0,
            expires_s=3600.0,
        )
    ).result()
    assert database.submit(lambda connection: files.remove(connection, "t", "file-1", now_s=1.0)).result()
    assert database.read_now(lambda connection: files.find_input_blob(connection, created.seq)) == "b"
    assert deletable(database, 1.0) == []
    database.submit(lambda connection: batches.claim(connection, "a", "validating")).result()
    assert database.submit(lambda connection: batches.fail(connection, "a", created.seq, errors="", now_s=2.0)).result()
    assert deletable(database, 2.0) == ["file-1"]


def test_files_are_paged_by_cursor(database: Database) -> None:
    for number in range(3):
        add(database, replace(FILE, id=f"file-{number}"))

    def page(after: str | None) -> tuple[list[str], bool]:
        found = database.read_now(
            lambda connection: files.pages(
                connection, "t", after=after, limit=2, ascending=True, purpose=None, now_s=1.0
            )
        )
        return [file.id for file in found.items], found.has_more

    assert page(None) == (["file-0", "file-1"], True)
    assert page("file-1") == (["file-2"], False)


def test_ids_are_a_tenant_s_own(database: Database) -> None:
    """Another tenant's file of the same id is neither an obstacle nor visible, and no batch reads it."""
    others = replace(FILE, tenant="u", blob="other")
    for file in (FILE, others):
        add(database, file)
        created = batch_of(file.tenant)
        database.submit(lambda connection, created=created: batches.add(connection, **created)).result()
    for file in (FILE, others):
        tenant = file.tenant
        assert database.read_now(lambda connection, t=tenant: files.get(connection, t, "file-1", now_s=0.0)) == file
        batch = database.read_now(lambda connection, t=tenant: batches.get(connection, t, "batch_1"))
        assert batch is not None
        seq = batch.seq
        assert database.read_now(lambda connection, seq=seq: files.find_input_blob(connection, seq)) == file.blob
    assert database.submit(lambda connection: files.remove(connection, "t", "file-1", now_s=0.0)).result()
    assert database.read_now(lambda connection: files.get(connection, "u", "file-1", now_s=0.0)) == others


def batch_of(tenant: str) -> dict[str, object]:
    return {
        "id": "batch_1",
        "tenant": tenant,
        "endpoint": "/v1/chat/completions",
        "completion_window": "1h",
        "input_file_id": "file-1",
        "created_s": 0.0,
        "expires_s": 3600.0,
    }


def test_upload_of_a_live_gateway_is_its_own(database: Database) -> None:
    """Neither a silent gateway nor a clock that jumps makes a file of a blob that another gateway may delete."""

    def abandoned(owner: str) -> list[str]:
        return database.submit(lambda connection: files.abandoned_uploads(connection, owner)).result()

    def finish(blob: str, owner: str) -> bool:
        return database.submit(lambda connection: files.finish_upload(connection, blob, owner)).result()

    for blob, owner in (("b1", "own"), ("b2", "other"), ("b3", "own")):
        database.submit(lambda connection, blob=blob, owner=owner: files.begin_upload(connection, blob, owner)).result()
        database.submit(lambda connection, owner=owner: heartbeats.beat(connection, owner, lease_s=60.0)).result()
    assert abandoned("own") == []
    assert finish("b1", "own")
    for owner in ("own", "other"):
        database.submit(lambda connection, owner=owner: heartbeats.stop(connection, owner)).result()
    assert abandoned("own") == ["b2"]
    assert not finish("b2", "other")
    assert finish("b3", "own")
    database.submit(lambda connection: files.forget_upload(connection, "b2")).result()
    assert abandoned("own") == []
