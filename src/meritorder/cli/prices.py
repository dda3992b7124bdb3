"""prices: prices of capacity and tokens."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console

from meritorder.cli.options import CatalogFiles, JsonFile, Provider, Region
from meritorder.cli.parsing import parse_names
from meritorder.domain import PricingModel


def prices(
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
    catalog: CatalogFiles = None,
    json: JsonFile = None,
) -> None:
    """List prices of capacity and tokens, with source and date.

    Cheapest per GPU-hour first. Nothing is fetched: the prices are those of this version, and your own.
    """
    from meritorder.report import files
    from meritorder.report import prices as report
    from meritorder.study.prices import list_prices

    files.check_target(json)
    found = list_prices(
        model=model,
        hardware=parse_names(hardware),
        providers=parse_names(provider),
        regions=parse_names(region),
        pricing_model=pricing_model,
        catalogs=tuple(catalog or ()),
    )
    shown = found.rejected if refused else ()
    console = Console()
    console.print(
        report.to_table(found.offers, found.tokens, shown, today=found.today, limit=limit, width=console.width)
    )
    if json:
        document = report.to_dict(found.offers, found.tokens, found.rejected, today=found.today)
        files.write_bytes(json, msgspec.json.format(msgspec.json.encode(document)))
