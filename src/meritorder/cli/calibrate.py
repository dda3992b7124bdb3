"""calibrate: a profile from measured requests; watch and shadow: what running engines cost, and what waiting saves."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from meritorder.cli.options import (
    ApiKeyVariable,
    CatalogFiles,
    Columns,
    Defer,
    Engine,
    Format,
    GpusPerReplica,
    Hardware,
    HtmlFile,
    JsonFile,
    Model,
    Precision,
    ProfileFile,
    Provider,
    Rates,
    Replicas,
    Seed,
    SloText,
    StartupTime,
    Workloads,
)
from meritorder.cli.parsing import (
    catalog_sources,
    parse_duration,
    parse_names,
    parse_pairs,
    parse_slo,
    parse_startup,
    progress,
)
from meritorder.errors import ConfigError
from meritorder.records.accounting import OUTPUT_WEIGHT
from meritorder.units import SECONDS_PER_MINUTE, parse_duration_s


def calibrate(
    source: Annotated[str, typer.Argument(metavar="LOG|URL", help="Measured requests, or a live endpoint to load.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Profile to write.")] = Path("profile.toml"),
    model: Annotated[str, typer.Option("--model", help="Model, if the log does not name it.")] = "",
    served_model_name: Annotated[
        str,
        typer.Option("--served-model-name", metavar="NAME", help="Name of the model at the endpoint, if not --model."),
    ] = "",
    hardware: Annotated[str, typer.Option("--hardware", metavar="GPU", help="GPU, if the log does not name it.")] = "",
    tp: Annotated[int | None, typer.Option("--tp", help="GPUs per replica, if the log does not state it.")] = None,
    engine: Engine = "vllm",
    precision: Precision = None,
    max_num_seqs: Annotated[
        int | None, typer.Option("--max-num-seqs", min=1, help="Limit of the engine; fitted if not stated.")
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option("--max-num-batched-tokens", min=1, help="Limit of the engine; fitted if not stated.")
    ] = None,
    kv_capacity: Annotated[
        int | None,
        typer.Option(
            "--kv-capacity", min=1, metavar="TOKENS", help="KV cache of a replica, as the engine logs it; else fitted."
        ),
    ] = None,
    format_: Format = None,
    columns: Columns = None,
    catalog: CatalogFiles = None,
    rate: Rates = None,
    config: Annotated[str, typer.Option("--config", help="Only this deployment of the log.")] = "",
    fit: Annotated[
        int | None, typer.Option("--fit", min=1, metavar="N", help="Fit to the first N requests; half by default.")
    ] = None,
    max_requests: Annotated[int, typer.Option("--max-requests", min=1, help="Most requests to send to a URL.")] = 200,
    max_minutes: Annotated[float, typer.Option("--max-minutes", help="Longest time to load a URL.")] = 10.0,
    api_key_env: ApiKeyVariable = "OPENAI_API_KEY",
    html: HtmlFile = None,
) -> None:
    """Fit a performance profile to measured requests, and report its error on requests that it was not fitted to."""
    from meritorder import catalog as facts
    from meritorder.perf.shipped import to_toml
    from meritorder.report import files
    from meritorder.report.inputs import calibration as report
    from meritorder.study.calibrate import calibrate as study
    from meritorder.study.calibrate.starting import Deployment

    files.check_target(html)
    measured = out.with_suffix(".requests.csv")
    deployment = Deployment(model=model, hardware=hardware, gpus=tp, engine=engine, precision=precision)
    known = study.KnownLimits(
        max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens, kv_capacity_tokens=kv_capacity
    )
    catalogs = catalog_sources(catalog, rate)
    with progress() as status:
        if source.startswith(("http://", "https://")):
            from meritorder.study.calibrate.endpoint import Bounds, measure

            if not (model or served_model_name):
                raise ConfigError("no model is stated", where="--model", fix="use the endpoint's name of the model")
            bounds = Bounds(max_requests=max_requests, max_s=max_minutes * SECONDS_PER_MINUTE)
            key = os.environ.get(api_key_env, "")
            served = served_model_name or model
            log = measure(source, served, bounds=bounds, api_key=key, progress=status.update)
            files.write_text(measured, log.to_csv())
            typer.echo(f"the requests that were measured are in {measured}", err=True)
            # A name for both need not be exactly that of the catalog.
            deployment = replace(deployment, model=model if served_model_name else "")
            found = [study.calibrate_log(log, deployment, known, fit=fit, catalogs=catalogs, progress=status.update)]
        else:
            found = study.calibrate_logs(
                [source],
                deployment,
                known,
                config=config,
                fit=fit,
                format=format_,
                columns=parse_pairs(columns, "--columns") if columns else None,
                catalogs=catalogs,
                progress=status.update,
            )
    files.write_text(out, to_toml(found))
    if html:
        from meritorder.report.inputs import calibration_html as page

        files.write_text(html, page.render(found))
    report.render(found, Console())
    more = "".join(f" {word}" for word in facts.arguments(catalogs))
    typer.echo(
        f"written to {out}; use it with: meritorder compare TRACE --model {found[0].model} --profile {out}{more}"
    )


def watch(
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="Metrics of a vLLM, SGLang or llama.cpp server: http://host:port/metrics"),
    ],
    machine: Annotated[
        str, typer.Option("--machine", metavar="NAME", help="What it runs on, priced as by `meritorder prices`.")
    ] = "",
    usd_per_hour: Annotated[
        float | None, typer.Option("--usd-per-hour", metavar="USD", help="Price of all that it runs on, instead.")
    ] = None,
    pricing_model: Annotated[
        str, typer.Option("--pricing-model", metavar="NAME", help="How the machine is paid for.")
    ] = "on_demand",
    interval: Annotated[str, typer.Option("--interval", metavar="TIME", help="How long to measure.")] = "60s",
    output_weight: Annotated[
        float, typer.Option("--output-weight", min=0.01, max=1000, help="Input tokens that an output token counts as.")
    ] = OUTPUT_WEIGHT,
    api_key_env: ApiKeyVariable = "",
    json: JsonFile = None,
) -> None:
    """Measure what a million tokens of a running engine cost, with idle time apart; it needs no gateway.

    The engine's own counters are read each second; Ctrl-C ends it with what was measured until then.
    """
    from meritorder import documents
    from meritorder.report import files
    from meritorder.report.ledger import watch as report
    from meritorder.study import watch as study

    address = study.metrics_url(url)
    interval_s = parse_duration_s(interval)
    if not interval_s:
        raise ConfigError(f"{interval!r} is not a duration", where="--interval", fix="write 60s, 10m or 2h")
    files.check_target(json)
    price = study.price_usd_per_hour(machine, usd_per_hour, pricing_model)
    api_key = os.environ.get(api_key_env, "") if api_key_env else ""
    with progress() as status:
        answer = study.watch(
            address,
            usd_per_hour=price,
            machine=machine,
            interval_s=interval_s,
            output_weight=output_weight,
            read=partial(study.read_metrics, api_key=api_key),
            progress=status.update,
        )
    if json:
        files.write_bytes(json, documents.encode(answer))
    report.render(answer, Console())


def shadow(
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metrics", metavar="URL", help="Metrics of an engine that is in use (repeatable)."),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option("--log", metavar="FILE", help="Log of requests with dates, read as it grows (repeatable)."),
    ] = None,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long to watch.")] = "24h",
    every: Annotated[str, typer.Option("--every", metavar="TIME", help="How often to say what was seen.")] = "1h",
    model: Model = "",
    hardware: Hardware = "h100",
    provider: Provider = "",
    defer: Defer = None,
    workloads: Workloads = None,
    slo: SloText = "",
    engine: Engine = "vllm",
    tp: GpusPerReplica = None,
    replicas: Replicas = None,
    startup: StartupTime = "5m",
    profile: ProfileFile = None,
    catalog: CatalogFiles = None,
    rate: Rates = None,
    seed: Seed = 0,
    api_key_env: ApiKeyVariable = "",
    json: JsonFile = None,
) -> None:
    """Watch engines in use and say what waiting would have saved; nothing is moved or changed.

    Ctrl-C ends it with what was seen until then. For example:

    meritorder shadow --metrics http://engine:8000/metrics --model llama-3.1-8b --defer 40%@4h --for 24h
    """
    from meritorder import documents
    from meritorder.report import files
    from meritorder.report.compare import shadow as report
    from meritorder.study.compare import shadow as study
    from meritorder.study.fleet.options import CompareOptions
    from meritorder.study.watch import metrics_url, read_metrics

    files.check_target(json)
    options = CompareOptions(
        model=model,
        hardware=parse_names(hardware),
        providers=parse_names(provider),
        defer=tuple(defer or ()),
        workloads=workloads,
        slo=parse_slo(slo),
        engine=engine,
        tp=tp,
        replicas=replicas,
        startup=parse_startup(startup),
        profile=profile,
        catalogs=catalog_sources(catalog, rate),
        seed=seed,
    )
    api_key = os.environ.get(api_key_env, "") if api_key_env else ""
    with progress() as status:
        answer = study.shadow(
            [metrics_url(url) for url in metrics or ()],
            log or (),
            options,
            for_s=parse_duration(for_, "--for"),
            every_s=parse_duration(every, "--every"),
            read=partial(read_metrics, api_key=api_key),
            on_period=lambda period: typer.echo(report.sentence(period)),
            progress=status.update,
        )
    if json:
        files.write_bytes(json, documents.encode(answer))
    report.render(answer, Console())
