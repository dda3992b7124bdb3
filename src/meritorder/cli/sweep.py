"""sweep: vary the assumptions of a comparison."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from meritorder.cli.options import (
    Aggregate,
    AllowPrecision,
    AttentionSplit,
    BatchDeadline,
    CatalogFiles,
    ColdStart,
    Columns,
    Defer,
    Engine,
    Format,
    From,
    GpusPerReplica,
    Hardware,
    HtmlFile,
    KeepWarm,
    KvCacheDtype,
    MaxNumBatchedTokens,
    MaxNumSeqs,
    MemoryUtilization,
    Model,
    Precision,
    ProfileFile,
    Provider,
    Rates,
    Region,
    Replicas,
    Roofline,
    Scale,
    Seed,
    Serverless,
    SloText,
    Spot,
    SpotTrace,
    Spread,
    StartupTime,
    Strict,
    To,
    Traces,
    Workloads,
)
from meritorder.cli.parsing import (
    catalog_sources,
    parse_duration,
    parse_names,
    parse_precisions,
    parse_slo,
    parse_startup,
    read_trace,
)
from meritorder.domain import Attention


def sweep(
    trace: Traces,
    vary: Annotated[
        list[str],
        typer.Option(
            "--vary",
            metavar="NAME=VALUE,…",
            help="What to vary (repeatable; all combinations): replicas=1..8, hardware=h100,h200, share=0%,40%, "
            "deadline, startup, ttft, tpot, tp, engine, precision, provider, max_num_seqs, max_num_batched_tokens, "
            "memory_utilization, kv_cache_dtype.",
        ),
    ],
    model: Model = "",
    hardware: Hardware = "h100",
    provider: Provider = "",
    region: Region = "",
    defer: Defer = None,
    workloads: Workloads = None,
    slo: SloText = "",
    batch_deadline: BatchDeadline = "24h",
    startup: StartupTime = "5m",
    spread: Spread = "1h",
    engine: Engine = "vllm",
    precision: Precision = None,
    allow_precision: AllowPrecision = "",
    tp: GpusPerReplica = None,
    attention: AttentionSplit = Attention.ANY,
    max_num_seqs: MaxNumSeqs = None,
    max_num_batched_tokens: MaxNumBatchedTokens = None,
    memory_utilization: MemoryUtilization = None,
    kv_cache_dtype: KvCacheDtype = None,
    replicas: Replicas = None,
    spot: Spot = False,
    spot_trace: SpotTrace = None,
    serverless: Serverless = False,
    cold_start: ColdStart = "",
    keep_warm: KeepWarm = "",
    profile: ProfileFile = None,
    roofline: Roofline = False,
    catalog: CatalogFiles = None,
    rate: Rates = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Table of the results (Parquet).")] = Path(
        "sweep.parquet"
    ),
    html: HtmlFile = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Local processes; one per processor if left out.")
    ] = None,
    ray: Annotated[
        str, typer.Option("--ray", metavar="ADDRESS", help="Run on this Ray cluster instead, such as auto.")
    ] = "",
    format_: Format = None,
    columns: Columns = None,
    aggregate: Aggregate = False,
    scale: Scale = 1.0,
    start: From = None,
    end: To = None,
    strict: Strict = False,
    seed: Seed = 0,
) -> None:
    """Run a comparison for every combination of values: cost against latency.

    For example:

    meritorder sweep requests.csv --model llama-3.1-70b --vary share=0%,20%,40% --vary hardware=h100,h200
    """
    from meritorder.report import files
    from meritorder.report.compare import sweep as report
    from meritorder.report.compare import sweep_html as page
    from meritorder.study.compare import sweep as study
    from meritorder.study.fleet.options import CompareOptions

    files.check_target(out, html)
    axes = study.parse_axes(vary)
    options = CompareOptions(
        model=model,
        hardware=parse_names(hardware),
        providers=parse_names(provider),
        regions=parse_names(region),
        engine=engine,
        precision=precision,
        allowed_precisions=parse_precisions(allow_precision),
        tp=tp,
        attention=attention,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        memory_utilization=memory_utilization,
        kv_cache_dtype=kv_cache_dtype,
        slo=parse_slo(slo),
        defer=tuple(defer or ()),
        workloads=workloads,
        patience_s=parse_duration(batch_deadline, "--batch-deadline"),
        spread_s=parse_duration(spread, "--spread"),
        startup=parse_startup(startup),
        profile=profile,
        roofline=roofline,
        replicas=replicas,
        spot=spot,
        spot_trace=spot_trace,
        serverless=serverless,
        stated_cold_start_s=parse_duration(cold_start, "--cold-start", zero=True) if cold_start else None,
        keep_warm_s=parse_duration(keep_warm, "--keep-warm", zero=True) if keep_warm else None,
        catalogs=catalog_sources(catalog, rate),
        seed=seed,
    )
    requests = read_trace(trace, format_, columns, scale, start, end, strict=strict, seed=seed, aggregate=aggregate)
    columns_shown = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns_shown, console=Console(stderr=True)) as bar:
        task = bar.add_task("points", total=None)
        rows = study.sweep(
            requests,
            options,
            axes,
            processes=processes,
            ray_address=ray,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    names = [axis.name for axis in axes]
    files.write_bytes(out, report.to_parquet(rows))
    if html:
        files.write_text(html, page.render(rows, names))
    report.render(rows, names, Console())
    typer.echo(f"{rows.height:,} rows in {out}" + (f", figure in {html}" if html else ""))
