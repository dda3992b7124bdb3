"""plan and simulate: the cheapest plan of a trace, and the outcome of a plan on any trace."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from meritorder.cli.options import (
    Aggregate,
    AllowPrecision,
    AttentionSplit,
    CatalogFiles,
    Columns,
    Defer,
    Engine,
    Format,
    From,
    GpusPerReplica,
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
    Replicas,
    Roofline,
    Scale,
    Seed,
    SloText,
    Spot,
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
    parse_share,
    parse_slo,
    parse_startup,
    progress,
    read_trace,
)
from meritorder.domain import Attention


def plan(
    trace: Traces,
    model: Model = "",
    hardware: Annotated[
        str, typer.Option("--hardware", metavar="GPU,…", help="GPUs to choose from; by default, all common ones.")
    ] = "",
    provider: Provider = "",
    region: Region = "",
    defer: Defer = None,
    workloads: Workloads = None,
    slo: SloText = "",
    slot: Annotated[
        str | None,
        typer.Option("--slot", metavar="TIME", help="Length of a slot, such as 15m or 1h; set by the span by default."),
    ] = None,
    commit: Annotated[
        str,
        typer.Option(
            "--commit",
            metavar="TERM",
            help="Longest term to commit to: none, 1y or 3y; auto means 1y for a trace of two weeks, else none.",
        ),
    ] = "auto",
    spot: Spot = False,
    spot_machines: Annotated[
        int, typer.Option("--spot-machines", min=1, help="Machines of each spot offer that are available at once.")
    ] = 8,
    machines: Annotated[
        int | None,
        typer.Option("--machines", min=1, help="Maximum machines of each on-demand offer; unlimited by default."),
    ] = None,
    bill: Annotated[
        list[str] | None,
        typer.Option(
            "--bill", metavar="FILE", help="Take prices and running commitments from a cloud bill (repeatable)."
        ),
    ] = None,
    have: Annotated[
        Path | None,
        typer.Option("--have", metavar="FILE", help="Machines and savings plans already held (TOML)."),
    ] = None,
    tokens: Annotated[
        str,
        typer.Option(
            "--tokens",
            metavar="TIER,…",
            help="Tiers of token APIs that the plan may buy: batch, flex, standard, priority; real-time work only at "
            "the last two. Left out, what can wait may be bought at the first three; `none` buys nothing.",
        ),
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Buy tokens only from the venues of this configuration of the gateway, at the prices that it states.",
        ),
    ] = None,
    carbon: Annotated[
        Path | None,
        typer.Option("--carbon", metavar="FILE", help="CO2 in g per kWh by region and hour (CSV; see docs/plan.md)."),
    ] = None,
    carbon_price: Annotated[
        float, typer.Option("--carbon-price", metavar="USD", min=0, help="Price of a tonne of CO2; requires --carbon.")
    ] = 0.0,
    hindsight: Annotated[
        bool,
        typer.Option("--hindsight", help="Plan the trace itself alone, without judging a policy on days not seen."),
    ] = False,
    coming: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="TIME",
            help="Plan the days after the trace, such as 7d, from a forecast: growth, weekdays, holidays, shifts.",
        ),
    ] = "",
    holidays: Annotated[
        Path | None,
        typer.Option("--holidays", metavar="FILE", help="Dates that are forecast as Sundays, one a line: 2026-12-25."),
    ] = None,
    replicas: Replicas = None,
    backtest: Annotated[
        str,
        typer.Option(
            "--backtest",
            metavar="SHARE",
            help="Choose commitments on this share of the trace and pay for them on the rest: 50%.",
        ),
    ] = "",
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
    profile: ProfileFile = None,
    roofline: Roofline = False,
    time_limit: Annotated[
        str, typer.Option("--time-limit", metavar="TIME", help="Time limit of each solve of the whole problem.")
    ] = "20s",
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
    """Find the cheapest plan of a trace, with a proven lower bound.

    The plan decides when deferrable work runs, on which machines, under which pricing model, and what to commit to. It
    is simulated request by request before it is shown. For example:

    meritorder plan requests.csv --model llama-3.1-70b --defer 40%@4h --json plan.json --html plan.html
    """
    from meritorder import documents
    from meritorder.errors import ConfigError
    from meritorder.planner.solve.highs import Effort
    from meritorder.report import files
    from meritorder.report.plan import text as plan_text
    from meritorder.study.plan.answer import plan as study
    from meritorder.study.schedule.options import (
        HARDWARE,
        PlanOptions,
        parse_dates,
        parse_days,
        parse_terms,
        parse_tiers,
    )

    files.check_target(json, html)
    if (carbon is None) != (carbon_price == 0):
        raise ConfigError("--carbon and --carbon-price require each other", where="plan", fix="give both or neither")
    if coming and hindsight:
        raise ConfigError("--for plans the days to come, --hindsight those of the trace", where="plan", fix="give one")
    options = PlanOptions(
        model=model,
        hardware=parse_names(hardware) or HARDWARE,
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
        spread_s=parse_duration(spread, "--spread"),
        startup=parse_startup(startup),
        profile=profile,
        roofline=roofline,
        replicas=replicas,
        spot=spot,
        spot_machines=spot_machines,
        machines=machines,
        have=have,
        bills=tuple(bill or ()),
        carbon=carbon,
        carbon_usd_per_tonne=carbon_price,
        catalogs=catalog_sources(catalog, rate),
        seed=seed,
        slot_s=parse_duration(slot, "--slot") if slot else None,
        terms=parse_terms(commit),
        tiers=parse_tiers(parse_names(tokens)),
        config=config,
        backtest=parse_share(backtest, "--backtest") if backtest else None,
        effort=Effort(time_limit_s=parse_duration(time_limit, "--time-limit")),
        scale=scale,
        hindsight=hindsight,
        holidays=parse_dates(holidays) if holidays else frozenset(),
        coming_days=parse_days(coming) if coming else 0,
        start=start,
        end=end,
    )
    with progress() as status:
        status.update("reading the trace")
        trace_read = read_trace(
            trace, format_, columns, scale, start, end, strict=strict, seed=seed, aggregate=aggregate
        )
        status.update("compiling the simulator (once per machine, about 15 s)")
        answer = study(trace_read, options, status.update)
        if html:
            from meritorder.report.plan import html as plan_html

            status.update("drawing the report")
            files.write_text(html, plan_html.render(answer))
        if json:
            files.write_bytes(json, documents.encode(answer))
    plan_text.render(answer, Console())


def simulate(
    trace: Traces,
    plan_file: Annotated[Path, typer.Option("--plan", metavar="FILE", help="Plan to simulate (JSON).")],
    scale: Annotated[
        float | None,
        typer.Option("--scale", metavar="N", help="Multiply the request rate; the plan's scale by default."),
    ] = None,
    format_: Format = None,
    columns: Columns = None,
    aggregate: Aggregate = False,
    start: From = None,
    end: To = None,
    strict: Strict = False,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Random seed; the plan's by default.")] = None,
    catalog: CatalogFiles = None,
    rate: Rates = None,
    json: JsonFile = None,
) -> None:
    """Simulate a plan on a trace, request by request: its cost, and whether it keeps its promises.

    On its own trace, this reproduces the figures of the plan; on another trace, it tests the plan. For example:

    meritorder simulate --plan plan.json next_week.csv
    """
    from meritorder import documents
    from meritorder.records import planfile
    from meritorder.report import files
    from meritorder.report.plan import simulation as simulation_text
    from meritorder.study.plan.replay import replay

    files.check_target(json)
    plan_read = planfile.read_plan(plan_file)
    promises = plan_read.promises
    own_scale = promises.scale if promises and scale is None else scale or 1.0
    own_seed = promises.seed if promises and seed is None else seed or 0
    begin = start if start or promises is None else promises.start
    finish = end if end or promises is None else promises.end
    with progress() as status:
        status.update("reading the trace")
        trace_read = read_trace(
            trace, format_, columns, own_scale, begin, finish, strict=strict, seed=own_seed, aggregate=aggregate
        )
        status.update("simulating the plan")
        simulated = replay(
            plan_read, trace_read, catalogs=catalog_sources(catalog, rate), seed=own_seed, where=str(plan_file)
        )
        if json:
            files.write_bytes(json, documents.encode(planfile.PlanSimulation(plan=str(plan_file), simulated=simulated)))
    simulation_text.render(plan_read, simulated, ", ".join(trace), Console())
