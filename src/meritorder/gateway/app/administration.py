"""What an administrator does with the store of a gateway, whether it runs or not."""

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TextIO

from meritorder.errors import ConfigError
from meritorder.gateway import config
from meritorder.gateway.config import check_deadline
from meritorder.gateway.state.auth import new_id, new_secret
from meritorder.gateway.store import keys, ledger, migrate
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.ledger import Entry
from meritorder.units import PICOUSD_PER_USD

_PICO: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A key that is to be made."""

    name: str
    tenant: str = "default"
    admin: bool = False
    deadline: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget_usd: float | None = None


class Desk:
    """An open store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, asked: Asked) -> str:
        """Make a key; return its secret, which nobody can look up again.

        Raises:
            ConfigError: The deadline is not one.
        """
        if asked.deadline is not None:
            check_deadline(asked.deadline, where="--deadline")
        secret = new_secret()
        key = Key(
            id=new_id("key_"),
            name=asked.name,
            tenant=asked.tenant,
            admin=asked.admin,
            deadline=asked.deadline,
            requests_per_minute=asked.requests_per_minute,
            tokens_per_minute=asked.tokens_per_minute,
            budget_picousd=None if asked.budget_usd is None else round(asked.budget_usd * PICOUSD_PER_USD),
        )
        now_s = time.time()
        self._database.submit(lambda connection: keys.add(connection, key, secret, now_s=now_s)).result()
        return secret

    def valid_keys(self) -> Sequence[Key]:
        """Return the keys that are valid."""
        return sorted(self._database.read_now(keys.valid).values(), key=lambda key: (key.tenant, key.name))

    def revoke(self, key_id: str) -> None:
        """Take a key back.

        Raises:
            ConfigError: There is none of this id.
        """
        now_s = time.time()
        if not self._database.submit(lambda connection: keys.revoke(connection, key_id, now_s=now_s)).result():
            raise ConfigError(
                f"no valid key has the id {key_id!r}", where="keys revoke", fix="see `meritorder keys list`"
            )

    def write_ledger(self, path: Path) -> int:
        """Write the ledger as CSV; return its rows. Money is in dollars, exact."""
        with path.open("w", newline="", encoding="utf-8") as file:
            return self._database.read_now(lambda connection: _write_csv(file, ledger.rows(connection)))

    def close(self) -> None:
        """Close the store."""
        self._database.close()


def _write_csv(file: TextIO, rows: Iterator[dict[str, Any]]) -> int:
    names = [*(name for name in Entry.__struct_fields__ if name != "cost_picousd"), "cost_usd"]
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    count = 0
    for row in rows:
        cost = row.pop("cost_picousd")
        writer.writerow(row | {"cost_usd": None if cost is None else Decimal(cost).scaleb(-_PICO)})
        count += 1
    return count


def open_store(path: Path) -> Desk:
    """Open the store that a configuration names."""
    database = Database(config.read(path).store.url)
    migrate.to_newest(database)
    return Desk(database)
