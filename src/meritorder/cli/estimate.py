"""estimate: what traffic in a few numbers costs, and the cheapest way for one job."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from meritorder.cli.options import (
    AllowPrecision,
    AttentionSplit,
    CatalogFiles,
    Columns,
    Engine,
    Format,
    GpusPerReplica,
    Hardware,
    HtmlFile,
    JsonFile,
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
    Roofline,
    Seed,
    SloText,
    Spot,
    StartupTime,
)
from meritorder.cli.parsing import (
    catalog_sources,
    parse_duration,
    parse_names,
    parse_precisions,
    parse_share,
    parse_slo,
    parse_startup,
    progress,
    read_trace,
)
from meritorder.domain import Attention
from meritorder.errors import ConfigError, WorkloadsError


def estimate(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="Requests of one job, in any trace format; needs --by."),
    ] = None,
    model: Model = "",
    requests_per_day: Annotated[
        float | None, typer.Option("--requests-per-day", metavar="N", help="Requests on an average day.")
    ] = None,
    input_: Annotated[float | None, typer.Option("--input", metavar="TOKENS", help="Mean length of a prompt.")] = None,
    output: Annotated[
        float | None,
        typer.Option("--output", metavar="TOKENS", help="Mean length of an answer; of a job, where its file has none."),
    ] = None,
    cached: Annotated[
        str, typer.Option("--cached", metavar="SHARE", help="Share of each prompt read from a prefix cache.")
    ] = "0%",
    peak: Annotated[
        float, typer.Option("--peak", metavar="RATIO", help="Requests in the busiest hour / in a mean hour.")
    ] = 3.0,
    variation: Annotated[
        float, typer.Option("--variation", metavar="RATIO", help="Standard deviation of the lengths / their mean.")
    ] = 0.9,
    can_wait: Annotated[
        list[str] | None,
        typer.Option(
            "--can-wait", metavar="SHARE@DEADLINE", help="Share of the requests that can wait: 30%@4h (repeatable)."
        ),
    ] = None,
    by: Annotated[str, typer.Option("--by", metavar="TIME", help="Time until the job must be done, such as 24h.")] = "",
    hardware: Hardware = "a100,h100,h200,b200,l40s",
    provider: Provider = "",
    region: Region = "",
    slo: SloText = "",
    startup: StartupTime = "5m",
    engine: Engine = "vllm",
    precision: Precision = None,
    allow_precision: AllowPrecision = "",
    tp: GpusPerReplica = None,
    attention: AttentionSplit = Attention.ANY,
    max_num_seqs: MaxNumSeqs = None,
    max_num_batched_tokens: MaxNumBatchedTokens = None,
    memory_utilization: MemoryUtilization = None,
    kv_cache_dtype: KvCacheDtype = None,
    spot: Spot = False,
    profile: ProfileFile = None,
    roofline: Roofline = False,
    catalog: CatalogFiles = None,
    rate: Rates = None,
    format_: Format = None,
    columns: Columns = None,
    simulate: Annotated[
        float,
        typer.Option(
            "--simulate",
            min=1000,
            metavar="N",
            help="Requests of a day to simulate at most; more is closer and slower.",
        ),
    ] = 50_000,
    write_trace: Annotated[
        Path | None,
        typer.Option("--write-trace", metavar="FILE", help="Write the requests that are simulated (CSV or Parquet)."),
    ] = None,
    seed: Seed = 0,
    json: JsonFile = None,
    html: HtmlFile = None,
) -> None:
    """Estimate costs from a few numbers, or find the cheapest way for one job.

    For example:

    meritorder estimate --model llama-3.1-70b --requests-per-day 50000 --input 1200 --output 300 --can-wait 30%@4h

    meritorder estimate prompts.jsonl --model llama-3.1-70b --by 24h
    """
    from meritorder import documents
    from meritorder.report import files
    from meritorder.report.compare import estimate as report
    from meritorder.study.fleet.options import CompareOptions

    files.check_target(json, html, write_trace)
    _refuse_both(
        {"--requests-per-day": requests_per_day, "--input": input_, "--can-wait": can_wait}, by, job=bool(prompts)
    )
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
        defer=_checked(can_wait or []),
        startup=parse_startup(startup),
        profile=profile,
        roofline=roofline,
        spot=spot,
        catalogs=catalog_sources(catalog, rate),
        seed=seed,
    )
    with progress() as status:
        if prompts:
            trace = read_trace(prompts, format_, columns, 1.0, None, None, strict=False, seed=seed)
            answer = _job(trace, by, options, output, status.update)
        else:
            traffic = _traffic(requests_per_day, input_, output, cached, peak, variation)
            answer = _estimate_traffic(traffic, options, simulate, write_trace, status.update)
        if html:
            from meritorder.report.compare import estimate_html as page  # slow to import, as all pages are

            files.write_text(html, page.render(answer))
        if json:
            files.write_bytes(json, documents.encode(answer))
    report.render(answer, Console())


def _refuse_both(of_traffic: dict[str, Any], by: str, *, job: bool) -> None:
    """Refuse options of traffic for a job, and the other way round, which would be ignored."""
    given = [option for option, value in of_traffic.items() if value]
    if job and given:
        raise ConfigError(
            "is for traffic in a few numbers, not for a file", where=given[0], fix="leave one of them out"
        )
    if by and not job:
        raise ConfigError("is for a job, whose requests are in a file", where="--by", fix="name the file")


def _checked(can_wait: list[str]) -> tuple[str, ...]:
    """Check the shares that can wait, and name the option of a mistake."""
    from meritorder.traces.workloads import parse_defer

    for text in can_wait:
        try:
            parse_defer(text)
        except WorkloadsError as error:
            raise WorkloadsError(error.what, where="--can-wait", fix=error.fix) from None
    return tuple(can_wait)


def _job(trace: Any, by: str, options: Any, output: float | None, update: Any) -> Any:
    """Estimate a job, and add the commands that run it."""
    from meritorder.study.estimate.job import estimate_job, with_answers

    if not by:
        raise ConfigError("a job needs a time until which it must be done", where="--by", fix="give 24h or 90m")
    by_s = parse_duration(by, "--by")
    answered = with_answers(trace, output) if output is not None else trace
    return estimate_job(answered, by_s, options, update)


def _traffic(
    requests_per_day: float | None,
    input_: float | None,
    output: float | None,
    cached: str,
    peak: float,
    variation: float,
) -> Any:
    from meritorder.traces.generated.synthetic import Traffic

    needed = {"--requests-per-day": requests_per_day, "--input": input_, "--output": output}
    missing = [option for option, value in needed.items() if value is None]
    if missing or requests_per_day is None or input_ is None or output is None:
        raise ConfigError(
            f"{', '.join(missing)} must be given",
            fix="such as --requests-per-day 50000 --input 1200 --output 300; or give a file of requests and --by 24h",
        )
    return Traffic(
        requests_per_day=requests_per_day,
        input_tokens=input_,
        output_tokens=output,
        cached_share=parse_share(cached, "--cached"),
        peak_to_mean=peak,
        variation=variation,
    )


def _estimate_traffic(traffic: Any, options: Any, simulate: float, write_trace: Path | None, update: Any) -> Any:
    """Estimate traffic, and write the requests that were simulated."""
    from meritorder.study.estimate.traffic import estimate_traffic, simulated_trace
    from meritorder.traces.generated.sample import write_trace as write

    if write_trace:
        write(simulated_trace(traffic, options, simulate), write_trace)
    return estimate_traffic(traffic, options, update, simulated_requests=simulate, trace_file=str(write_trace or ""))
