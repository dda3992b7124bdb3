"""Administration of a gateway's store, whether the gateway runs or not: API keys and the ledger."""

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self, TextIO

from meritorder.errors import ConfigError
from meritorder.gateway import config
from meritorder.gateway.state.auth import new_id, new_secret
from meritorder.gateway.store import keys, ledger, migrations
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.ledger import LedgerEntry
from meritorder.units import PICOUSD_PER_USD

_PICO_DIGITS: Final = 12
_MAX_BUDGET_USD: Final = 9_000_000.0  # picodollars are stored in 64 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """A key to create.

    Raises:
        ConfigError: Its deadline, a rate limit or its budget is invalid.
    """

    name: str
    tenant: str = "default"
    admin: bool = False
    deadline: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget_usd: float | None = None

    def __post_init__(self) -> None:
        if self.deadline is not None:
            config.check_deadline(self.deadline, where="--deadline")
        for option, limit in (
            ("--requests-per-minute", self.requests_per_minute),
            ("--tokens-per-minute", self.tokens_per_minute),
        ):
            if limit is not None and limit < 1:
                raise ConfigError(f"the limit is {limit}", where=option, fix="give at least 1, or revoke the key")
        if self.budget_usd is not None and not 0 <= self.budget_usd <= _MAX_BUDGET_USD:
            fix = f"give dollars from 0 to {_MAX_BUDGET_USD:,.0f}"
            raise ConfigError(f"{self.budget_usd:g} is not a budget", where="--budget", fix=fix)


class Administration:
    """An open store; a context manager.

    Args:
        path: The configuration that names the store.

    Raises:
        ConfigError: The configuration or its store cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(config.read(path).store.url)
        migrations.upgrade(self._database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def create_key(self, request: KeyRequest) -> str:
        """Create a key and return its secret, which is not stored."""
        secret = new_secret()
        key = Key(
            id=new_id("key_"),
            name=request.name,
            tenant=request.tenant,
            admin=request.admin,
            deadline=request.deadline,
            requests_per_minute=request.requests_per_minute,
            tokens_per_minute=request.tokens_per_minute,
            budget_picousd=None if request.budget_usd is None else round(request.budget_usd * PICOUSD_PER_USD),
        )
        now_s = time.time()
        self._database.submit(lambda connection: keys.add(connection, key, secret, now_s=now_s)).result()
        return secret

    def list_keys(self) -> Sequence[Key]:
        """Return the valid keys by tenant and name."""
        return sorted(self._database.read_now(keys.valid).values(), key=lambda key: (key.tenant, key.name))

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key.

        Raises:
            ConfigError: No valid key has this id.
        """
        now_s = time.time()
        if not self._database.submit(lambda connection: keys.revoke(connection, key_id, now_s=now_s)).result():
            raise ConfigError(
                f"no valid key has the id {key_id!r}", where="keys revoke", fix="see `meritorder keys list`"
            )

    def write_ledger(self, path: Path) -> int:
        """Write the ledger as CSV, with exact dollars, and return the number of rows."""
        with path.open("w", newline="", encoding="utf-8") as file:
            return self._database.read_now(lambda connection: _write_csv(file, ledger.rows(connection)))


def _write_csv(file: TextIO, rows: Iterator[dict[str, Any]]) -> int:
    names = [*(name for name in LedgerEntry.__struct_fields__ if name != "cost_picousd"), "cost_usd"]
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    count = 0
    for row in rows:
        cost = row.pop("cost_picousd")
        writer.writerow(row | {"cost_usd": None if cost is None else Decimal(cost).scaleb(-_PICO_DIGITS)})
        count += 1
    return count
