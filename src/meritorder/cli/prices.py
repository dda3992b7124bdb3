"""prices and cache: what is kept on this machine, beside the user's own files."""

import shutil
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console

from meritorder.cli.options import CatalogFiles, JsonFile, Provider, Rates, Region
from meritorder.cli.parsing import catalog_sources, parse_duration, parse_names
from meritorder.domain import PricingModel
from meritorder.units import BYTES_PER_MIB

_ACTIONS: Final = ("list", "update", "reset")
_CACHE_ACTIONS: Final = ("show", "clear")


def prices(
    action: Annotated[
        str,
        typer.Argument(
            metavar="[list|update|reset]",
            help="`update` reads public price lists, `reset` goes back to the shipped prices.",
        ),
    ] = "list",
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Also show the token prices of this model; alone, if it is only sold as tokens.",
        ),
    ] = "",
    hardware: Annotated[str, typer.Option("--hardware", metavar="GPU,…", help="GPUs; all if left out.")] = "",
    provider: Provider = "",
    region: Region = "",
    pricing_model: Annotated[
        PricingModel | None, typer.Option("--pricing-model", help="Only this pricing model.")
    ] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Also show rejected prices.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum rows of each table; --json has all.")] = 40,
    source: Annotated[
        str,
        typer.Option(
            "--source",
            metavar="NAME,…",
            help="Lists to read with `update`: skypilot (or skypilot/PROVIDER), genai-prices, aws; without it, all but "
            "aws, which is large.",
        ),
    ] = "",
    mirror: Annotated[
        str,
        typer.Option("--from", metavar="URL|DIR", help="Read the lists of `update` from a mirror or a folder instead."),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what `update` would change; write nothing.")] = False,
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="Longest time for each list.")] = "2min",
    catalog: CatalogFiles = None,
    rate: Rates = None,
    json: JsonFile = None,
) -> None:
    """List prices of capacity and tokens, with source and date.

    Cheapest per GPU-hour first. Nothing is fetched unless you say `prices update`: it reads SkyPilot's catalog and the
    list of genai-prices, shows what changes, and keeps them in $XDG_DATA_HOME/meritorder/prices (by default
    ~/.local/share/meritorder/prices), where all commands find them. If a list cannot be read, nothing changes.
    """
    if action not in _ACTIONS:
        raise typer.BadParameter(f"{action!r} is none of {', '.join(_ACTIONS)}", param_hint="action")
    if action == "update":
        _update(parse_names(source), mirror, json, dry_run=dry_run, timeout_s=parse_duration(timeout, "--timeout"))
        return
    if action == "reset":
        _reset()
        return
    from meritorder.report import files
    from meritorder.report.inputs import prices as report
    from meritorder.study.prices.listing import list_prices

    files.check_target(json)
    found = list_prices(
        model=model,
        hardware=parse_names(hardware),
        providers=parse_names(provider),
        regions=parse_names(region),
        pricing_model=pricing_model,
        catalogs=catalog_sources(catalog, rate),
    )
    shown = found.rejected if refused else ()
    console = Console()
    console.print(
        report.to_table(found.offers, found.tokens, shown, today=found.today, limit=limit, width=console.width)
    )
    if json:
        document = report.to_dict(found.offers, found.tokens, found.rejected, today=found.today)
        files.write_bytes(json, msgspec.json.format(msgspec.json.encode(document)))


def _update(names: tuple[str, ...], mirror: str, json: Path | None, *, dry_run: bool, timeout_s: float) -> None:
    from meritorder.report import files
    from meritorder.report.inputs.prices import update_to_dict, update_to_text
    from meritorder.study.prices.update import update_prices

    files.check_target(json)
    with Console(stderr=True).status("reading price lists") as status:
        update = update_prices(names=names, mirror=mirror, dry_run=dry_run, timeout_s=timeout_s, progress=status.update)
    Console().print(update_to_text(update.sources, update.changes, update.folder, dry_run=dry_run), soft_wrap=True)
    if json:
        document = update_to_dict(update.sources, update.changes, dry_run=dry_run)
        files.write_bytes(json, msgspec.json.format(msgspec.json.encode(document)))


def _reset() -> None:
    from meritorder.study.prices.update import reset_prices

    kept = reset_prices()
    names = ", ".join(f"{path}.old" for path in kept)
    Console().print(f"the shipped prices are in use; kept: {names}" if kept else "the shipped prices were in use")


def cache(
    action: Annotated[
        str, typer.Argument(metavar="[show|clear]", help="`clear` deletes it; it is made again when it is needed.")
    ] = "show",
) -> None:
    """Show or clear the cache: the compiled simulator, which takes a minute to make again.

    It lies in $XDG_CACHE_HOME/meritorder, by default in ~/.cache/meritorder.
    """
    from meritorder import documents

    if action not in _CACHE_ACTIONS:
        raise typer.BadParameter(f"{action!r} is none of {', '.join(_CACHE_ACTIONS)}", param_hint="action")
    folder = documents.cache_folder()
    sizes = [path.lstat().st_size for path in folder.rglob("*") if path.is_file()]
    if action == "clear" and folder.exists():
        shutil.rmtree(folder)
    deleted = "deleted" if action == "clear" else "in use"
    typer.echo(f"{folder}: {len(sizes):,} files, {sum(sizes) / BYTES_PER_MIB:.1f} MiB {deleted}")
