"""API keys in the store."""

from meritorder.gateway.store import keys
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key


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
