"""API keys in the store."""

from sqlalchemy import Connection, event

from meritorder.gateway.store import keys
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Budget, Key
from meritorder.gateway.store.quotas import budgets


def test_secret_is_not_stored(database: Database) -> None:
    key = Key(id="key_1", name="n", tenant="t", team="search")
    database.submit(lambda connection: keys.add(connection, key, "secret", now_s=1.0)).result()
    valid = database.read_now(keys.read).by_digest
    assert valid == {keys.digest("secret"): key}
    assert b"secret" not in next(iter(valid))


def test_revoked_key_is_not_valid(database: Database) -> None:
    key = Key(id="key_1", name="n", tenant="t")
    database.submit(lambda connection: keys.add(connection, key, "secret", now_s=1.0)).result()
    assert database.submit(lambda connection: keys.revoke(connection, "key_1", now_s=2.0)).result()
    assert not database.submit(lambda connection: keys.revoke(connection, "key_1", now_s=3.0)).result()
    assert database.read_now(keys.read).by_digest == {}


def test_key_that_is_created_while_keys_are_read_has_its_budget(database: Database) -> None:
    key = Key(id="key_1", name="n", tenant="t")

    def create(connection: Connection) -> None:
        keys.add(connection, key, "secret", now_s=1.0)
        budgets.set_budget(connection, Budget(id=key.id, amount_picousd=1), now_s=1.0)

    def read(connection: Connection) -> keys.Keys:
        event.listen(connection, "after_execute", lambda *_: database.submit(create).result(), once=True)
        return keys.read(connection)

    assert all(found.budgets for found in database.read_now(read).by_id.values())
    assert database.read_now(keys.read).by_id[key.id].budgets
