"""compare and demo: what a trace costs in real time, in batch, and as a mix."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.status import Status

from meritorder.cli.options import (
    CatalogFiles,
    Columns,
    Format,
    From,
    Hardware,
    HtmlFile,
    JsonFile,
    Model,
    Provider,
    Region,
    Scale,
    Seed,
    Strict,
    To,
    Traces,
)
from meritorder.cli.parsing import SLO_TEXT, duration_s, names, progress, read, slo_of, startup_of
from meritorder.errors import ConfigError, MissingExtraError
from meritorder.units import format_duration

# The sample week is that of a small team; at six times its rate a service needs a fleet.
_DEMO_SCALE: Final = 6.0
_DEMO_HARDWARE: Final = "a100"


def compare(
    trace: Traces,
    model: Model = "",
    hardware: Hardware = "h100",
    provider: Provider = "",
    region: Region = "",
    defer: Annotated[
        list[str] | None,
        typer.Option(
            "--defer",
            metavar="SHARE@DEADLINE",
            help="Assume that a share of the requests may wait: 40%@4h (repeatable).",
        ),
    ] = None,
    workloads: Annotated[
        Path | None,
        typer.Option(
            "--workloads", metavar="FILE", help="Which requests are promised what (TOML; see docs/reference/traces.md)."
        ),
    ] = None,
    slo: Annotated[
        str,
        typer.Option(
            "--slo",
            metavar="PROMISE",
            help="Real-time promise where no workload has its own.  [default: " + SLO_TEXT + "]",
        ),
    ] = "",
    batch_deadline: Annotated[
        str,
        typer.Option(
            "--batch-deadline",
            metavar="TIME",
            help="In the arrangement batch: how long a request without a deadline waits.",
        ),
    ] = "24h",
    startup: Annotated[
        str, typer.Option("--startup", metavar="TIME", help="From renting a machine until it serves.")
    ] = "5m",
    spread: Annotated[
        str,
        typer.Option(
            "--spread", metavar="TIME", help="Where a trace tells no arrivals: spread its requests over this time."
        ),
    ] = "1h",
    engine: Annotated[
        str, typer.Option("--engine", metavar="NAME", help="Inference engine: vllm, sglang or trtllm.")
    ] = "vllm",
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="NAME",
            help="Precision of the weights: bf16, fp8 or mxfp4; the model's own if left out.",
        ),
    ] = None,
    tp: Annotated[
        int | None,
        typer.Option(
            "--tp", min=1, metavar="GPUS", help="GPUs of a replica; the cheapest that keeps the SLO if left out."
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option("--replicas", min=1, help="Replicas of your present real-time fleet: the saving is against it."),
    ] = None,
    spot: Annotated[
        bool, typer.Option("--spot", help="Let what can wait run on spot machines where they are cheaper.")
    ] = False,
    spot_trace: Annotated[
        Path | None,
        typer.Option(
            "--spot-trace",
            metavar="FILE",
            help="With spot machines as they were to be had in this record (see docs/simulator.md).",
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Performance profile of your own endpoint (TOML or JSON)."),
    ] = None,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Take step times from the data sheets where nothing was measured.")
    ] = False,
    catalog: CatalogFiles = None,
    format_: Format = None,
    columns: Columns = None,
    scale: Scale = 1.0,
    start: From = None,
    end: To = None,
    strict: Strict = False,
    seed: Seed = 0,
    json: JsonFile = None,
    html: HtmlFile = None,
) -> None:
    """Say what a trace costs in real time, in batch and as a mix.

    And why they differ, and how sure that is. For example:

    meritorder compare requests.csv --model llama-3.1-70b --defer 40%@4h --html report.html
    """
    from meritorder.report.files import check_target
    from meritorder.study.compare.compare import Options

    check_target(json, html)
    options = Options(
        model=model,
        hardware=names(hardware),
        providers=names(provider),
        regions=names(region),
        engine=engine,
        precision=precision,
        tp=tp,
        slo=slo_of(slo),
        defer=tuple(defer or ()),
        workloads=workloads,
        patience_s=duration_s(batch_deadline, "--batch-deadline"),
        spread_s=duration_s(spread, "--spread"),
        startup=startup_of(startup),
        profile=profile,
        roofline=roofline,
        replicas=replicas,
        spot=spot,
        spot_trace=spot_trace,
        catalogs=tuple(catalog or ()),
        seed=seed,
    )
    with progress() as status:
        status.update("reading the trace")
        trace_read = read(trace, format_, columns, scale, start, end, strict=strict, seed=seed)
        _answer(trace_read, options, status, json, html)


def demo(
    json: JsonFile = Path("demo/compare.json"),
    html: HtmlFile = Path("demo/compare.html"),
    gateway: Annotated[
        bool, typer.Option("--gateway/--no-gateway", help="Run the gateway on a small local model as well.")
    ] = True,
) -> None:
    """Compare on a sample week of a service, and run the gateway on a small model.

    The week is made by this package, with a seed, from published facts, and written to demo/.
    """
    from meritorder.report.files import check_target
    from meritorder.study.compare.compare import Options
    from meritorder.traces import sample

    folder = Path("demo")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}", where=f"folder {folder.absolute()}") from None
    check_target(json, html)
    trace, workloads = folder / "week.parquet", folder / "workloads.toml"
    with progress() as status:
        status.update("making the sample week")
        sample.write(trace, seed=0)
        workloads.write_text(sample.WORKLOADS, encoding="utf-8")
        trace_read = read([str(trace)], None, None, _DEMO_SCALE, None, None, strict=True, seed=0)
        options = Options(model="llama-3.1-70b", hardware=(_DEMO_HARDWARE,), workloads=workloads)
        _answer(trace_read, options, status, json, html)
    typer.echo(f"\nThe sample, its workloads file and the report are in {folder}/; open {html} in a browser.")
    again = f"--model llama-3.1-70b --hardware {_DEMO_HARDWARE} --scale {_DEMO_SCALE:g} --workloads {workloads}"
    typer.echo(f"The same again: meritorder compare {trace} {again}")
    if gateway:
        _show_gateway()


def _show_gateway() -> None:
    from meritorder.gateway.app import showcase

    typer.echo("\nThe gateway, on SmolLM2-135M and llama.cpp on this machine:")
    try:
        with progress() as status:
            shown = showcase.show(status.update)
    except MissingExtraError as error:
        typer.echo(f"  left out: {error}")
        return
    typer.echo(
        f"  real time  {shown.questions} questions, first token after {format_duration(shown.ttft_alone_s)} alone, "
        f"{format_duration(shown.ttft_beside_s)} beside the batch (medians)\n"
        f"  batch      {shown.answered} of {shown.lines} lines in {format_duration(shown.batch_s)}, "
        f"{shown.tokens:,} tokens, {shown.lost_tokens:,} given up to make room for real time"
    )
    typer.echo("Run it yourself: meritorder serve --local")


def _answer(trace_read: Any, options: Any, status: Status, json: Path | None, html: Path | None) -> None:
    from meritorder.report import files
    from meritorder.report.compare import html as page
    from meritorder.report.compare import record, text
    from meritorder.study.compare.compare import compare as study

    status.update("compiling the simulator (once a machine, about 15 s)")
    comparison = study(trace_read, options, status.update)
    if html:
        status.update("drawing the report")
        files.write_text(html, page.render(comparison))
    if json:
        files.write_bytes(json, record.encode(comparison))
    status.stop()
    text.render(comparison, Console())
