"""The journal: which call is in which batch, and what was answered, in a file that outlives the program.

    asked ──open──► in a batch ──settle──► answered | forgotten, if it failed

A call is written here before it is sent, so that a program that was killed finds its calls again. Several programs may
share a journal: a key belongs to one batch, and a batch is uploaded, quoted and created once.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from meritorder.client.calls import Answer, Call, Promise, line_id
from meritorder.errors import ConfigError
from meritorder.units import SECONDS_PER_WEEK

_KEPT_S: Final = SECONDS_PER_WEEK
_BUSY_S: Final = 30.0
_RECORD: Final = {
    "file_id": "UPDATE batches SET file_id = coalesce(file_id, ?) WHERE id = ? RETURNING file_id",
    "quote_id": "UPDATE batches SET quote_id = coalesce(quote_id, ?) WHERE id = ? RETURNING quote_id",
}
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    deadline TEXT NOT NULL,
    max_usd REAL,
    window_s INTEGER NOT NULL,
    input BLOB NOT NULL,
    file_id TEXT,
    quote_id TEXT,
    created_s REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS calls (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    status INTEGER,
    body BLOB,
    changed_s REAL NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS calls_of_batch ON calls (batch_id);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A call that was asked before."""

    digest: str
    batch_id: str
    answer: Answer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch, from when it is decided until it is settled.

    Args:
        id: Its id here, which makes its creation at the gateway idempotent.
        promise: What its calls were promised.
        window_s: Its completion window.
        input: Its lines.
        file_id: The uploaded lines; None before.
        quote_id: Its quote; None before, or without one.
    """

    id: str
    promise: Promise
    window_s: int
    input: bytes
    file_id: str | None = None
    quote_id: str | None = None

    def line_ids(self) -> list[str]:
        """Return the ids of its lines, in order."""
        return [json.loads(line)["custom_id"] for line in self.input.splitlines()]


def state_folder() -> Path:
    """Return the folder of what outlives programs: `meritorder` in the user's state folder (XDG_STATE_HOME)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "meritorder"


def default_path() -> Path:
    """Return the journal of this user."""
    return state_folder() / "client.db"


class Journal:
    """A journal.

    Args:
        path: Its file, which is created if need be.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, uri=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
            self._forget_old()
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"the journal cannot be used: {error}", where=str(path), fix="name another file with journal="
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def find(self, scope: str, key: str) -> Entry | None:
        """Return a call that was asked before; None if it was not, or if it failed."""
        query = "SELECT digest, batch_id, status, body FROM calls WHERE scope = ? AND key = ?"
        row = self._connection.execute(query, (scope, key)).fetchone()
        if row is None:
            return None
        digest, batch_id, status, body = row
        return Entry(digest=digest, batch_id=batch_id, answer=None if status is None else Answer(status, body))

    def open(self, scope: str, batch: Batch, calls: Sequence[Call]) -> dict[str, Entry]:
        """Add a batch of those calls that no other program has asked meanwhile; return where each of the calls is."""
        with self._transaction():
            entries = {call.key: entry for call in calls if (entry := self.find(scope, call.key)) is not None}
            added = [call for call in calls if call.key not in entries]
            if added:
                self._add(batch, b"".join(call.line for call in added))
            rows = [(scope, call.key, call.digest, batch.id, time.time()) for call in added]
            insert = "INSERT INTO calls (scope, key, digest, batch_id, changed_s) VALUES (?, ?, ?, ?, ?)"
            self._connection.executemany(insert, rows)
        return entries | {call.key: Entry(digest=call.digest, batch_id=batch.id, answer=None) for call in added}

    def batch(self, batch_id: str) -> Batch | None:
        """Return a batch that is not settled."""
        select = (
            "SELECT endpoint, model, deadline, max_usd, window_s, input, file_id, quote_id FROM batches WHERE id = ?"
        )
        row = self._connection.execute(select, (batch_id,)).fetchone()
        if row is None:
            return None
        endpoint, model, deadline, max_usd, window_s, lines, file_id, quote_id = row
        promise = Promise(endpoint=endpoint, model=model, deadline=deadline, max_usd=max_usd)
        return Batch(id=batch_id, promise=promise, window_s=window_s, input=lines, file_id=file_id, quote_id=quote_id)

    def keys(self, batch_id: str) -> dict[str, str]:
        """Return the keys of a batch's calls by the ids of their lines."""
        rows = self._connection.execute("SELECT key FROM calls WHERE batch_id = ?", (batch_id,))
        return {line_id(key): key for (key,) in rows}

    def record(self, batch_id: str, column: Literal["file_id", "quote_id"], value: str) -> str:
        """Record the file or the quote of a batch, unless another program has; return the one that counts."""
        with self._transaction():
            row = self._connection.execute(_RECORD[column], (value, batch_id)).fetchone()
        return value if row is None else str(row[0])

    def settle(self, batch_id: str, answers: Mapping[str, Answer]) -> None:
        """Keep the results of a batch by key; forget the batch and its calls that have none."""
        results = [
            (answer.status, answer.body, time.time(), batch_id, key)
            for key, answer in answers.items()
            if answer.succeeded
        ]
        with self._transaction():
            keep = "UPDATE calls SET status = ?, body = ?, changed_s = ? WHERE batch_id = ? AND key = ?"
            self._connection.executemany(keep, results)
            self._connection.execute("DELETE FROM calls WHERE batch_id = ? AND status IS NULL", (batch_id,))
            self._connection.execute("DELETE FROM batches WHERE id = ?", (batch_id,))

    def replace(self, refused: Batch, batch: Batch, keys: Sequence[str]) -> None:
        """Replace a batch that the gateway refused by one of only those calls; forget the others."""
        with self._transaction():
            self._add(batch, batch.input)
            moved = [(batch.id, refused.id, key) for key in keys]
            self._connection.executemany("UPDATE calls SET batch_id = ? WHERE batch_id = ? AND key = ?", moved)
            self._connection.execute("DELETE FROM calls WHERE batch_id = ?", (refused.id,))
            self._connection.execute("DELETE FROM batches WHERE id = ?", (refused.id,))

    def _add(self, batch: Batch, lines: bytes) -> None:
        promise = batch.promise
        row = (batch.id, promise.endpoint, promise.model, promise.deadline, promise.max_usd, batch.window_s, lines)
        insert = (
            "INSERT INTO batches (id, endpoint, model, deadline, max_usd, window_s, input, created_s) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self._connection.execute(insert, (*row, time.time()))

    def _forget_old(self) -> None:
        before_s = time.time() - _KEPT_S
        with self._transaction():
            self._connection.execute(
                "DELETE FROM calls WHERE batch_id IN (SELECT id FROM batches WHERE created_s + window_s < ?) "
                "OR status IS NOT NULL AND changed_s < ?",
                (before_s, before_s),
            )
            self._connection.execute("DELETE FROM batches WHERE created_s + window_s < ?", (before_s,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
