"""compare and demo: the cost of a trace in real time, in batch, and as a mix."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.status import Status

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
    JsonFile,
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
    progress,
    read_trace,
)
from meritorder.domain import Attention
from meritorder.errors import ConfigError, MissingExtraError
from meritorder.units import format_duration

# The sample week is the traffic of a small team; at six times its rate it needs a fleet.
_DEMO_SCALE: Final = 6.0
_DEMO_HARDWARE: Final = "a100"


def compare(
    trace: Traces,
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
    format_: Format = None,
    columns: Columns = None,
    aggregate: Aggregate = False,
    scale: Scale = 1.0,
    start: From = None,
    end: To = None,
    strict: Strict = False,
    seed: Seed = 0,
    json: JsonFile = None,
    html: HtmlFile = None,
) -> None:
    """Compare the cost of a trace in real time, in batch and as a mix.

    Explains the difference and gives its interval. For example:

    meritorder compare requests.csv --model llama-3.1-70b --defer 40%@4h --html report.html
    """
    from meritorder.report.files import check_target
    from meritorder.study.compare.compare import CompareOptions

    check_target(json, html)
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
    with progress() as status:
        status.update("reading the trace")
        trace_read = read_trace(
            trace, format_, columns, scale, start, end, strict=strict, seed=seed, aggregate=aggregate
        )
        _compare(trace_read, options, status, json, html)


def demo(
    json: JsonFile = Path("demo/compare.json"),
    html: HtmlFile = Path("demo/compare.html"),
    gateway: Annotated[
        bool, typer.Option("--gateway/--no-gateway", help="Also run the gateway on a small local model.")
    ] = True,
) -> None:
    """Compare a sample week of a service, and run the gateway on a small model.

    The week is generated with a fixed seed from published facts, and written to demo/.
    """
    from meritorder.report.files import check_target
    from meritorder.study.compare.compare import CompareOptions
    from meritorder.traces.generated import sample

    folder = Path("demo")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be created: {error.strerror}", where=f"folder {folder.absolute()}") from None
    check_target(json, html)
    trace, workloads = folder / "week.parquet", folder / "workloads.toml"
    with progress() as status:
        status.update("generating the sample week")
        sample.write(trace, seed=0)
        workloads.write_text(sample.WORKLOADS, encoding="utf-8")
        trace_read = read_trace([str(trace)], None, None, _DEMO_SCALE, None, None, strict=True, seed=0)
        options = CompareOptions(model="llama-3.1-70b", hardware=(_DEMO_HARDWARE,), workloads=workloads)
        _compare(trace_read, options, status, json, html)
    typer.echo(f"\nThe sample, its workloads file and the report are in {folder}/. Open {html} in a browser.")
    arguments = f"--model llama-3.1-70b --hardware {_DEMO_HARDWARE} --scale {_DEMO_SCALE:g} --workloads {workloads}"
    typer.echo(f"To repeat the comparison: meritorder compare {trace} {arguments}")
    if gateway:
        _show_gateway()


def _show_gateway() -> None:
    from meritorder.gateway.app.demo import run_demo

    typer.echo("\nThe gateway, with SmolLM2-135M and llama.cpp on this machine:")
    try:
        with progress() as status:
            shown = run_demo(status.update)
    except MissingExtraError as error:
        typer.echo(f"  skipped: {error}")
        return
    typer.echo(
        f"  real time  {shown.questions} questions, first token after {format_duration(shown.ttft_alone_s)} alone, "
        f"{format_duration(shown.ttft_with_batch_s)} with the batch (medians)\n"
        f"  batch      {shown.answered} of {shown.lines} lines in {format_duration(shown.batch_s)}, "
        f"{shown.tokens:,} tokens, {shown.lost_tokens:,} discarded by preemption for real time"
    )
    typer.echo("Run it yourself: meritorder serve --local")


def _compare(trace_read: Any, options: Any, status: Status, json: Path | None, html: Path | None) -> None:
    from meritorder import documents
    from meritorder.report import files
    from meritorder.report.compare import text
    from meritorder.study.compare.compare import compare as study

    status.update("compiling the simulator (once per machine, about 15 s)")
    comparison = study(trace_read, options, status.update)
    if html:
        from meritorder.report.compare import html as page  # slow to import: it brings the figures

        status.update("drawing the report")
        files.write_text(html, page.render(comparison))
    if json:
        files.write_bytes(json, documents.encode(comparison))
    status.stop()
    text.render(comparison, Console())
