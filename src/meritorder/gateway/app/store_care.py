"""Care of a gateway's store, whether the gateway runs or not: erasure of a tenant, backup and restore."""

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import stat
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from meritorder.errors import ConfigError
from meritorder.gateway import config_file
from meritorder.gateway.app.server import lock_database
from meritorder.gateway.config import Settings
from meritorder.gateway.store import erasure, files, migrations
from meritorder.gateway.store.blobs import Blobs
from meritorder.gateway.store.database import Database

_SCHEMA: Final = "meritorder.backup/1"
_MANIFEST: Final = "backup.json"
_DATABASE: Final = "gateway.db"
_FILE_URL: Final = "file://"
_PART: Final = "#"  # in the names of blobs that are being written


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What was erased of a tenant.

    Args:
        counts: How much of what was deleted or made anonymous.
        running: Requests that still ran: each adds a ledger row as it ends, so that the erasure has to be repeated.
        is_rewritten: Whether nothing of it is left in unused parts of the database's files.
    """

    counts: Mapping[str, int]
    running: int
    is_rewritten: bool


def erase_tenant(path: Path, tenant: str) -> Erasure:
    """Erase what is stored of a tenant; its keys are revoked first.

    Raises:
        ConfigError: The configuration or its store cannot be used, or the tenant has nothing.
    """
    settings = config_file.read(path)
    database = Database(settings.store.url)
    try:
        migrations.upgrade(database)
        running = database.read_now(partial(erasure.running, tenant=tenant))
        counts = asyncio.run(_erase(database, Blobs(settings.blobs_url), tenant))
        return Erasure(counts=counts, running=running, is_rewritten=_rewrite(database, settings))
    finally:
        database.close()


async def _erase(database: Database, blobs: Blobs, tenant: str) -> Mapping[str, int]:
    counts = Counter[str]()
    await database.write(partial(erasure.revoke_keys, tenant=tenant, now_s=time.time()))
    for what, step in erasure.steps(tenant).items():
        while count := await database.write(step):
            counts[what] += count
    while some := await database.read(partial(erasure.some_blobs, tenant=tenant)):
        for file_id, blob in some:
            await blobs.remove(blob)
            await database.write(partial(files.delete_row, tenant=tenant, file_id=file_id))
        counts["files"] += len(some)
    if not counts:
        raise ConfigError(f"nothing is stored of tenant {tenant!r}", where="--tenant", fix="see `meritorder keys list`")
    return counts


def _rewrite(database: Database, settings: Settings) -> bool:
    """Rewrite a SQLite file, in whose unused parts deleted rows may be left; return False while its gateway runs."""
    if not database.is_sqlite:
        return True
    try:
        lock = lock_database(settings)
    except ConfigError:
        return False
    with lock or contextlib.nullcontext(), contextlib.closing(sqlite3.connect(_file(settings))) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return True


def back_up(path: Path, folder: Path) -> None:
    """Copy a store to a new folder, whole or not at all, while its gateway may run.

    Raises:
        ConfigError: The folder exists, or the store is not on this machine.
    """
    settings = config_file.read(path)
    source, blobs = _local(settings, "back up")
    if folder.exists():
        raise ConfigError(f"{folder} exists", where="store backup", fix="name a new folder")
    if not source.exists():
        raise ConfigError(f"there is no {source}", where="store.url", fix="run the gateway first")
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=stat.S_IRWXU, parents=True)
    _copy_files(settings.journal_folder, new / "journal")  # first: its entries move on into the database
    _snapshot(source, new / _DATABASE)
    _copy_files(blobs, new / "blobs")
    _copy_files(settings.autopilot_folder, new / "autopilot")
    if settings.receipt_key.exists():
        _copy(settings.receipt_key, new / settings.receipt_key.name)
    manifest = {"schema": _SCHEMA, "created_s": time.time(), "revision": migrations.NEWEST}
    (new / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    new.rename(folder)


def restore(path: Path, folder: Path) -> None:
    """Copy a backup to the places that a configuration names, which must be empty.

    Raises:
        ConfigError: The folder is no backup, or something is at these places.
    """
    settings = config_file.read(path)
    target, blobs = _local(settings, "restore")
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        is_backup = manifest["schema"] == _SCHEMA and (folder / _DATABASE).is_file()
    except (OSError, ValueError, KeyError, TypeError):
        is_backup = False
    if not is_backup:
        fix = "name a folder that `meritorder store backup` wrote"
        raise ConfigError(f"{folder} is no backup", where="store restore", fix=fix)
    for place in (target, blobs, settings.journal_folder):
        if place.is_file() or (place.is_dir() and any(place.iterdir())):
            raise ConfigError(
                f"{place} is there already", where="store restore", fix="stop the gateway and move it away"
            )
    _copy_files(folder / "blobs", blobs)
    _copy_files(folder / "journal", settings.journal_folder)
    _copy_files(folder / "autopilot", settings.autopilot_folder)
    if (folder / settings.receipt_key.name).exists():
        _copy(folder / settings.receipt_key.name, settings.receipt_key)
    _copy(folder / _DATABASE, target)  # last: without it, nothing is restored


def _local(settings: Settings, action: str) -> tuple[Path, Path]:
    """Return the paths of the SQLite file and of the folder of blobs."""
    if make_url(settings.store.url).get_backend_name() != "sqlite":
        fix = "use pg_dump and pg_restore; see docs/how-to/operate.md"
        raise ConfigError(f"PostgreSQL has its own tools to {action}", where="store.url", fix=fix)
    if not settings.blobs_url.startswith(_FILE_URL):
        fix = "use the copies and versions of your bucket; see docs/how-to/operate.md"
        raise ConfigError(f"an object store has its own tools to {action}", where="store.blobs", fix=fix)
    return _file(settings), Path(settings.blobs_url.removeprefix(_FILE_URL))


def _file(settings: Settings) -> Path:
    """Return the path of the SQLite file."""
    return Path(str(make_url(settings.store.url).database)).resolve()


def _snapshot(source: Path, target: Path) -> None:
    """Copy a SQLite database as it is at one moment, while others write."""
    with contextlib.closing(sqlite3.connect(source)) as reading, contextlib.closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)
    target.chmod(stat.S_IRUSR | stat.S_IWUSR)


def _copy_files(source: Path, target: Path) -> None:
    """Copy the files of a folder; those that vanish meanwhile are not needed any more."""
    for file in sorted(source.rglob("*")) if source.is_dir() else ():
        if file.is_file() and _PART not in file.name:
            with contextlib.suppress(FileNotFoundError):
                _copy(file, target / file.relative_to(source))


def _copy(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    target.parent.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    new = target.with_name(target.name + ".copy")
    shutil.copyfile(source, new)
    new.chmod(stat.S_IRUSR | stat.S_IWUSR)
    descriptor = os.open(new, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(target)
