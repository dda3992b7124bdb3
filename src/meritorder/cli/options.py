"""Options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

Traces = Annotated[
    list[str],
    typer.Argument(
        metavar="TRACE...", help="Files, globs in quotes, or - for standard input; gzip and zstd are unpacked."
    ),
]
Format = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="Format of the trace; found by content if left out.")
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="FIELD=COLUMN,…", help="Your names of columns: arrival=ts,input=prompt,output=answer."
    ),
]
Scale = Annotated[float, typer.Option("--scale", metavar="N", help="Multiply the rate of requests, by seeded copies.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="Start of a window: 2h or 1d after the first request, or ISO 8601."),
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="End of the window, written in the same ways.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Make a row that makes no sense an error; else it is counted and left out.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of whatever is drawn: --defer, --scale.")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the answer as JSON.")]
HtmlFile = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write the report with figures: one file that needs no network."),
]
Model = Annotated[
    str, typer.Option("--model", metavar="NAME", help="Model that is served; the trace's own if it has just one.")
]
Hardware = Annotated[
    str, typer.Option("--hardware", metavar="GPU,…", help="GPUs to choose from; the cheapest is taken.")
]
Provider = Annotated[str, typer.Option("--provider", metavar="NAME,…", help="Providers to rent from; all if left out.")]
Region = Annotated[str, typer.Option("--region", metavar="NAME,…", help="Regions to rent in; all if left out.")]
CatalogFiles = Annotated[
    list[Path] | None,
    typer.Option("--catalog", metavar="FILE", help="Prices, hardware and models to add or override (repeatable)."),
]
