"""The command line: parse, study, print.

A mistake of the user's is one line on standard error and exit code 2; nothing is written half.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec
import typer
from rich.console import Console
from rich.status import Status

from meritorder import __version__
from meritorder.domain import PricingModel, Slo
from meritorder.errors import ConfigError, MeritorderError, WorkloadsError
from meritorder.units import SECONDS_PER_MINUTE, parse_duration_s

app: Final = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Serve every LLM request from the cheapest capacity that still meets its deadline.",
)

# All of the command line's own complaints, wherever this version of typer keeps click.
_UsageError: Final = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
_INTERRUPTED: Final = 130
_SLO: Final = Slo(ttft_s=2.0, tpot_s=0.1, attainment=0.99)
_SLO_TEXT: Final = "ttft=2s,tpot=100ms,attainment=99%"

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


def main() -> None:
    """Run the command line."""
    try:
        code = app(prog_name="meritorder", standalone_mode=False)
    except MeritorderError as error:
        sys.stderr.write(f"meritorder: {error}\n")
        sys.exit(2)
    except _UsageError as error:
        asked = error.ctx.command_path if error.ctx else "meritorder"
        message = " ".join(error.format_message().split()).removesuffix(".")
        sys.stderr.write(f"meritorder: {message}; `{asked} --help` says what there is\n")
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        sys.stderr.write("interrupted; nothing was written\n")
    sys.exit(code)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"meritorder {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
    else:
        return
    raise typer.Exit


@app.command()
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
            "--workloads", metavar="FILE", help="Which requests are promised what (TOML; see docs/traces.md)."
        ),
    ] = None,
    slo: Annotated[
        str,
        typer.Option(
            "--slo",
            metavar="PROMISE",
            help="Real-time promise where no workload has its own.  [default: " + _SLO_TEXT + "]",
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
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Performance profile of your own endpoint (TOML or JSON)."),
    ] = None,
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
    from meritorder.study.compare import Options

    check_target(json, html)
    options = Options(
        model=model,
        hardware=_names(hardware),
        providers=_names(provider),
        regions=_names(region),
        engine=engine,
        precision=precision,
        tp=tp,
        slo=_slo(slo),
        slo_assumed=not slo,
        defer=tuple(defer or ()),
        workloads=workloads,
        patience_s=_duration_s(batch_deadline, "--batch-deadline"),
        spread_s=_duration_s(spread, "--spread"),
        startup_s=_duration_s(startup, "--startup", zero=True),
        profile=profile,
        replicas=replicas,
        spot=spot,
        catalogs=tuple(catalog or ()),
        seed=seed,
    )
    with _progress() as status:
        status.update("reading the trace")
        read = _read(trace, format_, columns, scale, start, end, strict=strict, seed=seed)
        _answer(read, options, status, json, html)


@app.command()
def demo(json: JsonFile = Path("demo/compare.json"), html: HtmlFile = Path("demo/compare.html")) -> None:
    """Compare on a sample week of a service.

    The week is made by this package, with a seed, from published facts, and written to demo/.
    """
    from meritorder.report.files import check_target
    from meritorder.study.compare import Options
    from meritorder.traces import sample

    folder = Path("demo")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}", where=f"folder {folder.absolute()}") from None
    check_target(json, html)
    trace, workloads = folder / "week.parquet", folder / "workloads.toml"
    with _progress() as status:
        status.update("making the sample week")
        sample.write(trace, seed=0)
        workloads.write_text(sample.WORKLOADS, encoding="utf-8")
        read = _read([str(trace)], None, None, 1.0, None, None, strict=True, seed=0)
        options = Options(model="llama-3.1-70b", hardware=("h100",), workloads=workloads)
        _answer(read, options, status, json, html)
    typer.echo(f"\nThe sample, its workloads file and the report are in {folder}/; open {html} in a browser.")
    typer.echo(f"The same again: meritorder compare {trace} --model llama-3.1-70b --workloads {workloads}")


@app.command()
def inspect(
    trace: Traces,
    could_wait: Annotated[bool, typer.Option("--could-wait", help="Look for requests that could wait.")] = False,
    propose: Annotated[
        Path | None,
        typer.Option(
            "--propose", metavar="FILE", help="Write what could wait as a workloads file, for you to correct."
        ),
    ] = None,
    format_: Format = None,
    columns: Columns = None,
    scale: Scale = 1.0,
    start: From = None,
    end: To = None,
    strict: Strict = False,
    seed: Seed = 0,
    json: JsonFile = None,
) -> None:
    """Show what a trace holds, and what in it could wait.

    Span, rates, burstiness, lengths, tenants. With --could-wait, requests that look as if nobody sits in front of the
    answer, each with its evidence.
    """
    from meritorder.report import files
    from meritorder.report import inspect as report
    from meritorder.traces.could_wait import candidates
    from meritorder.traces.could_wait import propose as proposal

    files.check_target(propose, json)
    with _progress() as status:
        status.update("reading the trace")
        read = _read(trace, format_, columns, scale, start, end, strict=strict, seed=seed)
        status.update("looking for what could wait")
        found = candidates(read) if could_wait or propose else []
    console = Console()
    report.render(read, console)
    if could_wait or propose:
        report.render_candidates(found, console)
    if propose:
        files.write_text(propose, proposal(found))
    if json:
        files.write_bytes(json, msgspec.json.format(msgspec.json.encode(report.to_dict(read, found))))


@app.command()
def calibrate(
    source: Annotated[str, typer.Argument(metavar="LOG|URL", help="Measured requests, or a live endpoint to load.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Profile to write.")] = Path("profile.toml"),
    model: Annotated[str, typer.Option("--model", help="Model, where the log does not name it.")] = "",
    hardware: Annotated[
        str, typer.Option("--hardware", metavar="GPU", help="GPU, where the log does not name it.")
    ] = "",
    tp: Annotated[int | None, typer.Option("--tp", help="GPUs a replica, where the log does not say.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="Inference engine: vllm, sglang or trtllm.")] = "vllm",
    precision: Annotated[str | None, typer.Option("--precision", help="Weights: bf16, fp8, mxfp4.")] = None,
    max_num_seqs: Annotated[
        int | None, typer.Option("--max-num-seqs", help="The engine's; fitted if left out.")
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option("--max-num-batched-tokens", help="The engine's; fitted if left out.")
    ] = None,
    config: Annotated[str, typer.Option("--config", help="Only this set-up of the log.")] = "",
    fit: Annotated[int | None, typer.Option("--fit", metavar="N", help="Fit to the first N; half if left out.")] = None,
    max_requests: Annotated[int, typer.Option("--max-requests", help="Most requests to send to a URL.")] = 200,
    max_minutes: Annotated[float, typer.Option("--max-minutes", help="Longest time to load a URL.")] = 10.0,
    api_key_env: Annotated[
        str, typer.Option("--api-key-env", metavar="NAME", help="Environment variable that holds the endpoint's key.")
    ] = "OPENAI_API_KEY",
) -> None:
    """Fit a performance profile to measured requests, and say how far it is from those that it has not seen."""
    from meritorder.perf.shipped import to_toml
    from meritorder.report import calibration as report
    from meritorder.report import files
    from meritorder.study import calibrate as study
    from meritorder.study.starting import SetUp

    setup = SetUp(model=model, hardware=hardware, gpus=tp, engine=engine, precision=precision)
    known = study.Known(max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens)
    with _progress() as status:
        if source.startswith(("http://", "https://")):
            from meritorder.study.endpoint import Bounds, measure

            bounds = Bounds(max_requests=max_requests, max_s=max_minutes * SECONDS_PER_MINUTE)
            key = os.environ.get(api_key_env, "")
            log = measure(source, model, bounds=bounds, api_key=key, progress=status.update)
            found = [study.calibrate_log(log, setup, known, fit=fit, progress=status.update)]
        else:
            found = study.calibrate_logs([source], setup, known, config=config, fit=fit, progress=status.update)
    files.write_text(out, to_toml(found))
    report.render(found, Console())
    typer.echo(f"written to {out}; use it with: meritorder compare TRACE --model {found[0].model} --profile {out}")


@app.command()
def prices(
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="Show what the model costs as tokens, too.")
    ] = "",
    hardware: Annotated[str, typer.Option("--hardware", metavar="GPU,…", help="GPUs; all if left out.")] = "",
    provider: Provider = "",
    region: Region = "",
    pricing_model: Annotated[
        PricingModel | None, typer.Option("--pricing-model", help="How capacity is paid for.")
    ] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Show prices that were not believed.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows to show of each table; --json has all.")] = 40,
    catalog: CatalogFiles = None,
    json: JsonFile = None,
) -> None:
    """List what capacity and tokens cost, with source and date.

    Cheapest per GPU-hour first. Nothing is fetched: prices are those that came with this version, and yours.
    """
    from meritorder.report import files
    from meritorder.report import prices as report
    from meritorder.study.listing import listing

    files.check_target(json)
    found = listing(
        model=model,
        hardware=_names(hardware),
        providers=_names(provider),
        regions=_names(region),
        pricing_model=pricing_model,
        catalogs=tuple(catalog or ()),
    )
    shown = found.refused if refused else ()
    Console().print(report.to_table(found.offers, found.tokens, shown, limit=limit))
    if json:
        document = report.to_dict(found.offers, found.tokens, found.refused)
        files.write_bytes(json, msgspec.json.format(msgspec.json.encode(document)))


def _answer(read: Any, options: Any, status: Status, json: Path | None, html: Path | None) -> None:
    from meritorder.report import files, record, text
    from meritorder.report import html as page
    from meritorder.study.compare import compare as study

    status.update("compiling the simulator (once a machine, about 15 s)")
    comparison = study(read, options, status.update)
    if html:
        status.update("drawing the report")
        files.write_text(html, page.render(comparison))
    if json:
        files.write_bytes(json, record.encode(comparison))
    status.stop()
    text.render(comparison, Console())


def _read(
    sources: list[str],
    format_: str | None,
    columns: str | None,
    scale: float,
    start: str | None,
    end: str | None,
    *,
    strict: bool,
    seed: int,
) -> Any:
    from meritorder import traces

    return traces.read(
        sources,
        format=format_,
        columns=_pairs(columns, "--columns") if columns else None,
        scale=scale,
        seed=seed,
        start=start,
        end=end,
        strict=strict,
    )


@contextmanager
def _progress() -> Iterator[Status]:
    """Show what is being done, on standard error, and only to a person."""
    with Status("", console=Console(stderr=True)) as status:
        yield status


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _pairs(text: str, option: str) -> dict[str, str]:
    pairs = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    if len(pairs) != len(text.split(",")):
        raise MeritorderError(f"{text!r} is not field=value,…", where=option)
    return {key.strip(): value.strip() for key, value in pairs.items()}


def _duration_s(text: str, option: str, *, zero: bool = False) -> float:
    seconds = parse_duration_s(text)
    if seconds is None or (seconds <= 0 and not zero):
        raise WorkloadsError(f"{text!r} is not a duration", where=option, fix="write 90s, 30m, 4h or 2d")
    return seconds


def _slo(text: str) -> Slo:
    """Read `ttft=2s,tpot=100ms,attainment=99%`; what is left out keeps its default."""
    if not text:
        return _SLO
    pairs = _pairs(text, "--slo")
    strange = sorted(set(pairs) - {"ttft", "tpot", "attainment"})
    if strange:
        raise WorkloadsError(f"unknown {strange[0]!r}", where="--slo", fix=f"write {_SLO_TEXT}")
    times = {name: _duration_s(pairs[name], f"--slo {name}") for name in ("ttft", "tpot") if name in pairs}
    share = pairs.get("attainment", f"{_SLO.attainment}")
    try:
        attainment = float(share.removesuffix("%")) / (100 if share.endswith("%") else 1)
    except ValueError:
        raise WorkloadsError(f"{share!r} is not a share", where="--slo attainment", fix="write 99% or 0.99") from None
    return Slo(ttft_s=times.get("ttft", _SLO.ttft_s), tpot_s=times.get("tpot", _SLO.tpot_s), attainment=attainment)
