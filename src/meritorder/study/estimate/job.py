"""The cheapest way for one job: all requests are there now, and must be done by a time."""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl

from meritorder import catalog as facts
from meritorder.catalog import Catalog
from meritorder.catalog.tokens import find_model_or_prices
from meritorder.domain import Model
from meritorder.errors import TraceError
from meritorder.records.estimation import Estimate, TrafficSummary, Way
from meritorder.records.evidence import Assumption, PriceUsed, age_warnings
from meritorder.study.compare.trace_summary import reading_warnings
from meritorder.study.estimate.commands import duration_argument, option_arguments
from meritorder.study.estimate.sentence import job_sentence
from meritorder.study.estimate.ways import (
    NO_MACHINE_ERRORS,
    limits_machines,
    speed_certainty,
    speed_factors,
    token_ways,
)
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.fleet.search import build_search
from meritorder.study.fleet.speeds import speed_assumptions
from meritorder.study.fleet.spot import spot_assumptions
from meritorder.study.fleet.workloads import assign_workloads, only_model, permitted_to_all
from meritorder.study.prices.age import priced_today
from meritorder.traces import Trace
from meritorder.traces.formats.prompts.texts import BATCH, PROMPTS
from meritorder.units import SECONDS_PER_HOUR, format_count, format_share

# Jobs of more requests are simulated on the hardware only whose work is cheapest.
_MANY_REQUESTS: Final = 100_000
_SHORTLISTED: Final = 2
# The requests come at once; a little time between them keeps their order.
_SPREAD_S: Final = 1.0
_SUBMITTED: Final = frozenset({BATCH.name, PROMPTS.name})


def job_options(options: CompareOptions, by_s: float) -> CompareOptions:
    """Return the options with which `compare` answers for the same job: all requests at once, all with the deadline."""
    return replace(options, spread_s=_SPREAD_S, defer=(f"100%@{by_s:g}s",), spot=True)


def estimate_job(trace: Trace, by_s: float, options: CompareOptions, progress: Progress = lambda _: None) -> Estimate:
    """Return what a job costs on machines that are rented for it and as tokens, and when it would be done.

    Args:
        trace: The requests; when they arrive is ignored.
        by_s: Time from now until all must be done.
        options: Model and machines.
        progress: Receives each step.

    Raises:
        MeritorderError: The model is unknown, or is had neither on machines nor as tokens.
    """
    options = job_options(options, by_s)
    now = replace(trace, requests=trace.requests.with_columns(arrived_s=0.0, deadline_s=pl.lit(None, pl.Float64)))
    name = options.model or only_model(trace)
    catalog = facts.load(options.catalogs)
    model, prices = find_model_or_prices(catalog, name)
    assigned = assign_workloads(now, options)
    load = assigned.load(options)
    catalog, permitted = permitted_to_all(catalog, prices, assigned)
    trials: list[Trial] = []
    no_machine = ""
    if model:
        try:
            trials = list(_trials(catalog, model, load, options, progress))
        except NO_MACHINE_ERRORS as error:
            if not permitted or limits_machines(options):
                raise
            no_machine = str(error)
    ways = [*map(_machine_way, trials), *token_ways(permitted, load, usd_factor=1.0, by_s=by_s)]
    ways.sort(key=lambda way: (way.in_time is False, way.usd))
    machines = [machine for trial in trials for machine, _ in trial.pools]
    prices_used = priced_today(PriceUsed.from_offer(machine.offer) for machine in machines)
    return Estimate(
        model=model.id if model else name,
        period="job",
        traffic=TrafficSummary(
            requests=len(load),
            requests_per_day=None,
            input_tokens=float(load.input_tokens.mean()),
            output_tokens=float(load.output_tokens.mean()),
            by_s=by_s,
        ),
        sentence=job_sentence(len(load), ways, by_s, no_machine=no_machine, unpriced=trace.report.unpriced),
        ways=ways,
        best=ways[0].name,
        assumptions=[
            *(_assumptions(options, len(load)) if trials else ()),
            *speed_assumptions(machines),
            *spot_assumptions(machines, options),
            *(Assumption(text=text) for text in trace.report.assumptions if "arriv" not in text),
        ],
        prices=prices_used,
        warnings=[*reading_warnings(trace.report), *age_warnings(prices_used)],
        commands=_commands(ways[0], trace, model.id if model else name, options, by_s),
    )


def with_answers(trace: Trace, output_tokens: float) -> Trace:
    """Return a job whose answers have this length, where its file states none.

    Raises:
        TraceError: The file states the lengths, or the length is none.
    """
    if not trace.report.estimated_tokens:
        raise TraceError("the file states how long the answers are", where="--output", fix="leave the option out")
    if output_tokens < 1:
        raise TraceError("an answer has at least one token", where="--output")
    assumed = (*(text for text in trace.report.assumptions if "output tokens" not in text and "its limit" not in text),)
    text = f"every answer has {output_tokens:,.0f} tokens"
    report = replace(trace.report, assumptions=(*assumed, text))
    requests = trace.requests.with_columns(output_tokens=pl.lit(round(output_tokens), pl.Int32))
    return replace(trace, requests=requests, report=report)


def _assumptions(options: CompareOptions, requests: int) -> list[Assumption]:
    assumptions = [Assumption(text="machines are rented when the job starts, and given back after it")]
    if requests > _MANY_REQUESTS and len(options.hardware) > _SHORTLISTED:
        text = f"only the {_SHORTLISTED} kinds of hardware whose work is cheapest are simulated for so large a job"
        assumptions.append(Assumption(text=text, option="--hardware"))
    return [*assumptions, *options.precision_assumptions(), options.startup_assumption()]


def _trials(
    catalog: Catalog, model: Model, load: TraceLoad, options: CompareOptions, progress: Progress
) -> Iterator[Trial]:
    """Yield the cheapest fleet in time of each hardware, on demand and on spot machines."""
    search = build_search(catalog, model, load, options, progress)
    hardware = list(dict.fromkeys(machine.profile.hardware for machine in search.machines))
    if len(load) > _MANY_REQUESTS:
        hardware = hardware[:_SHORTLISTED]
    for name in hardware:
        for spot in (False, True):
            machines = [
                machine
                for machine in search.batch_machines
                if machine.profile.hardware == name and (machine.interruptions is not None) == spot
            ]
            if machines:
                progress(f"simulating {name}{', spot' if spot else ''}")
                yield replace(search, batch_machines=machines, tried=[]).batch(load)


def _machine_way(trial: Trial) -> Way:
    machine = trial.machine
    spot = machine.interruptions is not None
    served = trial.result.first_token_s[np.isfinite(trial.result.first_token_s)]
    finished = trial.result.finished_s[np.isfinite(trial.result.finished_s)]
    # The simulated fleet starts as late as the deadline permits; a job starts now and takes as long.
    took_s = float(finished.max() - served.min()) + machine.startup_s if len(finished) else None
    certainty = speed_certainty(machine)
    share = machine.offer.interruptions_per_month
    if spot and share is not None:
        certainty += f"; {format_share(share)} of such machines are interrupted in a month"
    hours = sum(account.paid_s for account in trial.result.pools) / machine.replicas / SECONDS_PER_HOUR
    peak = sum(account.peak_instances for account in trial.result.pools)
    return Way(
        name=f"machines_{'spot' if spot else 'on_demand'}_{machine.profile.hardware}",
        title="Own machines, spot" if spot else "Own machines",
        where=machine.offer.label,
        usd=trial.usd,
        usd_per_request=trial.usd / len(trial.load),
        finished_s=took_s,
        in_time=trial.feasible,
        certainty=certainty,
        note=f"{format_count(peak, 'machine')}, {hours:,.2g} machine hours, {machine.profile.replica.label}",
        usd_range=_range(trial.usd, _startup_usd(trial), speed_factors(machine)),
        finished_range_s=None if took_s is None else _range(took_s, machine.startup_s, speed_factors(machine)),
    )


def _startup_usd(trial: Trial) -> float:
    """Return what the first start of each machine costs, which does not depend on the speed of its work."""
    paid_s = sum(account.paid_s for account in trial.result.pools)
    starts = sum(account.peak_instances for account in trial.result.pools)
    return trial.usd * min(1.0, starts * trial.machine.startup_paid_s / paid_s) if paid_s else 0.0


def _range(whole: float, fixed: float, factors: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return a quantity of which all but a fixed part is in proportion to the time of a step."""
    if factors is None:
        return None
    fast, slow = (fixed + (whole - fixed) * factor for factor in factors)
    return fast, slow


def _commands(way: Way, trace: Trace, model: str, options: CompareOptions, by_s: float) -> list[str]:
    """Return the commands that run a job in a way, through the gateway.

    Args:
        way: The way.
        trace: The requests.
        model: The model.
        options: The options with which the job was simulated.
        by_s: When it must be done.
    """
    window = duration_argument(by_s)
    commands = ["meritorder serve --config gateway.toml"]
    if way.name.startswith("machines"):
        hardware = way.name.rpartition("_")[2]
        chosen = replace(options, hardware=(hardware,), spot="_spot_" in way.name, defer=(f"100%@{window}",))
        arguments = shlex.join([*trace.report.files, *option_arguments(model, chosen)])
        commands = [f"meritorder plan {arguments} --json plan.json", f"{commands[0]} --plan plan.json"]
    if not _SUBMITTED.issuperset(trace.report.format.split("+")):
        return commands  # token counts alone cannot be submitted
    named = ["--model", model] if PROMPTS.name in trace.report.format else []
    rest = shlex.join([*named, "--window", window, "--wait"])
    return [*commands, *(f"meritorder batch submit {shlex.quote(file)} {rest}" for file in trace.report.files)]
