"""store: back up and restore the store of a gateway, and erase a tenant's data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from meritorder.cli.options import ConfigFile
from meritorder.errors import ConfigError
from meritorder.units import format_count

if TYPE_CHECKING:
    from meritorder.gateway.app.store_care import Erasure

_BACKUP: Final = "backup"
_RESTORE: Final = "restore"
_ERASE: Final = "erase"
_ACTIONS: Final = (_BACKUP, _RESTORE, _ERASE)


def store(
    action: Annotated[str, typer.Argument(metavar="|".join(_ACTIONS), help="Action.")],
    config: ConfigFile,
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="Folder of the backup.")] = None,
    tenant: Annotated[
        str, typer.Option("--tenant", metavar="NAME", help="Tenant to erase: keys, files, batches and answers.")
    ] = "",
) -> None:
    """Back up a gateway's store while it runs, restore it, or erase what is stored of a tenant.

    An erasure cannot be undone. What was paid stays in the ledger, without the tenant's name, keys and ids.
    """
    from meritorder.gateway.app import store_care

    if action not in _ACTIONS:
        raise ConfigError(f"unknown action {action!r}", where="store", fix=f"write one of {', '.join(_ACTIONS)}")
    if action == _ERASE:
        if not tenant or folder is not None:
            raise ConfigError(
                "give a tenant and no folder", where="store erase", fix="write: store erase --tenant NAME"
            )
        _show_erased(store_care.erase_tenant(config, tenant), tenant)
        return
    if folder is None or tenant:
        raise ConfigError("give a folder and no tenant", where=f"store {action}", fix=f"write: store {action} FOLDER")
    if action == _BACKUP:
        store_care.back_up(config, folder)
        typer.echo(f"written to {folder}; to restore it: meritorder store restore {folder} --config CONFIG")
    else:
        store_care.restore(config, folder)
        typer.echo(f"restored from {folder}")


def _show_erased(erasure: Erasure, tenant: str) -> None:
    counts = ", ".join(f"{count:,} {what}" for what, count in sorted(erasure.counts.items()))
    typer.echo(f"erased of tenant {tenant}: {counts}")
    if erasure.running:
        typer.echo(f"{format_count(erasure.running, 'request')} still ran; erase again when they have ended", err=True)
    if not erasure.is_rewritten:
        typer.echo(
            "unused parts of the database's file may have some of it until VACUUM; stop the gateway for it", err=True
        )
