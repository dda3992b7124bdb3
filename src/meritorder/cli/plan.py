"""plan and simulate: the cheapest plan for a trace, and what a plan comes to on another."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from meritorder.cli.options import (
    CatalogFiles,
    Columns,
    Format,
    From,
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
from meritorder.cli.parsing import SLO_TEXT, duration_s, names, progress, read, share_of, slo_of, startup_of


def plan(
    trace: Traces,
    model: Model = "",
    hardware: Annotated[
        str, typer.Option("--hardware", metavar="GPU,…", help="GPUs to choose from; all common ones if left out.")
    ] = "",
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
    slot: Annotated[
        str | None,
        typer.Option("--slot", metavar="TIME", help="Length of a slot, such as 15m or 1h; by the span if left out."),
    ] = None,
    commit: Annotated[
        str,
        typer.Option("--commit", metavar="TERM", help="Longest term to commit to: none, 1y or 3y."),
    ] = "1y",
    spot: Annotated[
        bool, typer.Option("--spot", help="Let what can wait run on spot machines where they are cheaper.")
    ] = False,
    spot_machines: Annotated[
        int, typer.Option("--spot-machines", min=1, help="Machines of each spot offer that can be had at once.")
    ] = 8,
    machines: Annotated[
        int | None,
        typer.Option("--machines", min=1, help="Most machines of each offer on demand; no limit if left out."),
    ] = None,
    bill: Annotated[
        list[str] | None,
        typer.Option(
            "--bill", metavar="FILE", help="Take prices and running commitments from a cloud bill (repeatable)."
        ),
    ] = None,
    have: Annotated[
        Path | None,
        typer.Option("--have", metavar="FILE", help="Machines and savings plans held already (TOML)."),
    ] = None,
    tokens: Annotated[
        str,
        typer.Option(
            "--tokens",
            metavar="TIER,…",
            help="Tiers of token APIs that work may be bought at: batch, flex, standard, priority.",
        ),
    ] = "",
    carbon: Annotated[
        Path | None,
        typer.Option("--carbon", metavar="FILE", help="Grams of CO2 a kWh by region and hour (CSV; see docs/plan.md)."),
    ] = None,
    carbon_price: Annotated[
        float, typer.Option("--carbon-price", metavar="USD", min=0, help="Price of a tonne of CO2; needs --carbon.")
    ] = 0.0,
    replicas: Annotated[
        int | None,
        typer.Option("--replicas", min=1, help="Replicas of your present real-time fleet: the saving is against it."),
    ] = None,
    backtest: Annotated[
        str,
        typer.Option(
            "--backtest",
            metavar="SHARE",
            help="Choose commitments on this share of the trace, and pay on the rest: 50%.",
        ),
    ] = "",
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
        typer.Option("--tp", min=1, metavar="GPUS", help="GPUs of a replica; the cheapest within the SLO if left out."),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Performance profile of your own endpoint (TOML or JSON)."),
    ] = None,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Take step times from the data sheets where nothing was measured.")
    ] = False,
    time_limit: Annotated[
        str, typer.Option("--time-limit", metavar="TIME", help="For each solve of the whole problem.")
    ] = "20s",
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
    """Find the cheapest plan for a trace, with a bound that none can beat.

    What may wait and when it runs, on which machines, under which pricing model, what to commit to. The plan is run
    in the simulator before it is shown. For example:

    meritorder plan requests.csv --model llama-3.1-70b --defer 40%@4h --json plan.json --html plan.html
    """
    from meritorder import documents
    from meritorder.errors import ConfigError
    from meritorder.plan.solve.search import Effort
    from meritorder.report import files
    from meritorder.report.plan import text as plan_text
    from meritorder.study.plan.answer import plan as study
    from meritorder.study.plan.options import HARDWARE, PlanOptions, terms_of, tiers_of

    files.check_target(json, html)
    if (carbon is None) != (carbon_price == 0):
        raise ConfigError("--carbon and --carbon-price need each other", where="plan", fix="give both, or none")
    options = PlanOptions(
        model=model,
        hardware=names(hardware) or HARDWARE,
        providers=names(provider),
        regions=names(region),
        engine=engine,
        precision=precision,
        tp=tp,
        slo=slo_of(slo),
        defer=tuple(defer or ()),
        workloads=workloads,
        spread_s=duration_s(spread, "--spread"),
        startup=startup_of(startup),
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
        catalogs=tuple(catalog or ()),
        seed=seed,
        slot_s=duration_s(slot, "--slot") if slot else None,
        terms=terms_of(commit),
        tiers=tiers_of(names(tokens)),
        backtest=share_of(backtest, "--backtest") if backtest else None,
        effort=Effort(time_limit_s=duration_s(time_limit, "--time-limit")),
        scale=scale,
        start=start,
        end=end,
    )
    with progress() as status:
        status.update("reading the trace")
        trace_read = read(trace, format_, columns, scale, start, end, strict=strict, seed=seed)
        status.update("compiling the simulator (once a machine, about 15 s)")
        found = study(trace_read, options, status.update)
        if html:
            from meritorder.report.plan import html as plan_html

            status.update("drawing the report")
            files.write_text(html, plan_html.render(found))
        if json:
            files.write_bytes(json, documents.encode(found))
    plan_text.render(found, Console())


def simulate(
    trace: Traces,
    plan_file: Annotated[Path, typer.Option("--plan", metavar="FILE", help="Plan to carry out (JSON).")],
    scale: Annotated[
        float | None,
        typer.Option("--scale", metavar="N", help="Multiply the rate of requests; as the plan was if left out."),
    ] = None,
    format_: Format = None,
    columns: Columns = None,
    start: From = None,
    end: To = None,
    strict: Strict = False,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of whatever is drawn; as the plan's if left out.")
    ] = None,
    catalog: CatalogFiles = None,
    json: JsonFile = None,
) -> None:
    """Carry a plan out on a trace, request by request, and say what it costs and whether its promises hold.

    On the trace that it was made for, this finds again what the plan says; on another, it judges it. For example:

    meritorder simulate --plan plan.json next_week.csv
    """
    from meritorder import documents, planfile
    from meritorder.report import files
    from meritorder.report.plan import simulation as simulation_text
    from meritorder.study.plan.follow import follow

    files.check_target(json)
    plan_read = planfile.read_plan(plan_file)
    promises = plan_read.promises
    own_scale = promises.scale if promises and scale is None else scale or 1.0
    own_seed = promises.seed if promises and seed is None else seed or 0
    begin = start if start or promises is None else promises.start
    finish = end if end or promises is None else promises.end
    with progress() as status:
        status.update("reading the trace")
        trace_read = read(trace, format_, columns, own_scale, begin, finish, strict=strict, seed=own_seed)
        status.update("carrying the plan out")
        simulated = follow(plan_read, trace_read, catalogs=tuple(catalog or ()), seed=own_seed, where=str(plan_file))
        if json:
            files.write_bytes(json, documents.encode(planfile.PlanSimulation(plan=str(plan_file), simulated=simulated)))
    simulation_text.render(plan_read, simulated, ", ".join(trace), Console())
