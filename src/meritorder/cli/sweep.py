"""sweep: vary what a comparison assumes."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from meritorder.cli.options import (
    Columns,
    Format,
    From,
    Hardware,
    HtmlFile,
    Model,
    Provider,
    Region,
    Scale,
    Seed,
    To,
    Traces,
)
from meritorder.cli.parsing import SLO_TEXT, names, read, slo_of


def sweep(
    trace: Traces,
    vary: Annotated[
        list[str],
        typer.Option(
            "--vary",
            metavar="NAME=VALUE,…",
            help="What to vary (repeatable; all combinations): replicas=1..8, hardware=h100,h200, share=0%,40%, "
            "deadline, startup, ttft, tpot, tp, engine, precision, provider, max_num_seqs, max_num_batched_tokens.",
        ),
    ],
    model: Model = "",
    hardware: Hardware = "h100",
    provider: Provider = "",
    region: Region = "",
    defer: Annotated[
        list[str] | None, typer.Option("--defer", metavar="SHARE@DEADLINE", help="Share that may wait: 40%@4h.")
    ] = None,
    workloads: Annotated[
        Path | None, typer.Option("--workloads", metavar="FILE", help="Which requests are promised what (TOML).")
    ] = None,
    slo: Annotated[str, typer.Option("--slo", metavar="PROMISE", help=f"Real-time promise: {SLO_TEXT}.")] = "",
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Table of the results (Parquet).")] = Path(
        "sweep.parquet"
    ),
    html: HtmlFile = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Processes here; one a processor if left out.")
    ] = None,
    ray: Annotated[
        str, typer.Option("--ray", metavar="ADDRESS", help="Run on this Ray cluster instead, such as auto.")
    ] = "",
    format_: Format = None,
    columns: Columns = None,
    scale: Scale = 1.0,
    start: From = None,
    end: To = None,
    seed: Seed = 0,
) -> None:
    """Compare at every combination of what you vary: cost against latency.

    For example:

    meritorder sweep requests.csv --model llama-3.1-70b --vary share=0%,20%,40% --vary hardware=h100,h200
    """
    from meritorder.report import files
    from meritorder.report.compare import sweep as report
    from meritorder.study.compare import sweep as study
    from meritorder.study.fleet.options import Options

    files.check_target(out, html)
    axes = study.parse_axes(vary)
    options = Options(
        model=model,
        hardware=names(hardware),
        providers=names(provider),
        regions=names(region),
        slo=slo_of(slo),
        defer=tuple(defer or ()),
        workloads=workloads,
        seed=seed,
    )
    requests = read(trace, format_, columns, scale, start, end, strict=False, seed=seed)
    columns_shown = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns_shown, console=Console(stderr=True)) as bar:
        task = bar.add_task("points", total=None)
        found = study.sweep(
            requests,
            options,
            axes,
            processes=processes,
            ray_address=ray,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    files.write_bytes(out, report.to_parquet(found))
    if html:
        files.write_text(html, report.to_html(found, [axis.name for axis in axes]))
    report.render(found, [axis.name for axis in axes], Console())
    typer.echo(f"{found.height:,} rows in {out}" + (f", figure in {html}" if html else ""))
