"""The settings of the autopilot, parsed, and the options that it plans again with: those of the plan in force."""

from dataclasses import dataclass, replace
from pathlib import Path

from meritorder.catalog import Source
from meritorder.domain import Tier
from meritorder.errors import ConfigError
from meritorder.gateway.config import DURATION_FIX, AutopilotTable
from meritorder.perf.versions import Engine
from meritorder.records.planfile import Plan
from meritorder.sim.pools import Startup
from meritorder.study.autopilot.budgets import Budget, parse_budgets
from meritorder.study.schedule.options import PlanOptions, parse_days
from meritorder.units import SECONDS_PER_DAY, parse_duration_s

OBSERVE, SUGGEST, APPLY = "observe", "suggest", "apply"
MODES = (OBSERVE, SUGGEST, APPLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutopilotOptions:
    """The settings of the autopilot.

    Args:
        mode: One of `MODES`.
        check_s: How often it looks.
        every_s: It plans again at the latest after this time.
        history_s: How far back it reads the ledger.
        coming_days: Days to come that it plans.
        table: Thresholds, as configured.
        budgets: What it may change.
        config: Configuration of the gateway, from whose venues alone it buys tokens; None for every provider.
        catalogs: Catalog files, and rates of currencies.
    """

    mode: str
    check_s: float
    every_s: float
    history_s: float
    coming_days: int
    table: AutopilotTable
    budgets: tuple[Budget, ...]
    config: Path | None = None
    catalogs: tuple[Source, ...] = ()


def parse_options(table: AutopilotTable, config: Path, catalogs: tuple[Source, ...] = ()) -> AutopilotOptions:
    """Return the settings of a configuration.

    Raises:
        ConfigError: One is invalid.
    """
    at = f"{config}: autopilot"
    if table.mode not in MODES:
        raise ConfigError(f"{table.mode!r} is no mode", where=f"{at}.mode", fix=f"write {', '.join(MODES)}")
    try:
        coming_days = parse_days(table.ahead)
    except ConfigError as error:
        raise ConfigError(error.what, where=f"{at}.ahead", fix=error.fix) from None
    history_s = _duration_s(table.history, f"{at}.history")
    if history_s < 2 * SECONDS_PER_DAY:
        raise ConfigError("is too short to forecast from", where=f"{at}.history", fix="write at least 2d")
    return AutopilotOptions(
        mode=table.mode,
        check_s=_duration_s(table.check, f"{at}.check"),
        every_s=_duration_s(table.every, f"{at}.every"),
        history_s=history_s,
        coming_days=coming_days,
        table=table,
        budgets=parse_budgets(table.budget, at),
        config=config,
        catalogs=catalogs,
    )


def planning_options(plan: Plan, options: AutopilotOptions, *, slower: float, says_what_waits: bool) -> PlanOptions:
    """Return the options to plan again with.

    Args:
        plan: The plan in force.
        options: The settings.
        slower: Factor on engine steps, as measured.
        says_what_waits: Whether the requests have deadlines of their own.

    Raises:
        ConfigError: The plan does not state its promises.
    """
    promises, table = plan.promises, options.table
    if promises is None:
        raise ConfigError("the plan does not state its promises", where="plan", fix="write it again: meritorder plan")
    if promises.workloads and not table.workloads:
        what = "the plan was made with a workloads file"
        raise ConfigError(what, where="autopilot.workloads", fix="name that file")
    venues = " ".join(route.venue for route in plan.routes if route.kind == "tier")
    first = plan.pools[0] if plan.pools else None
    planned = PlanOptions(
        model=promises.model,
        hardware=tuple(table.hardware) or tuple(sorted({pool.hardware for pool in plan.pools})),
        providers=tuple(table.providers) or tuple(sorted({pool.provider for pool in plan.pools})),
        slo=promises.slo,
        defer=() if says_what_waits else tuple(promises.defer),
        workloads=Path(table.workloads) if table.workloads else None,
        profile=Path(promises.profile) if promises.profile else None,
        roofline=promises.roofline,
        slower=slower,
        memory_utilization=promises.memory_utilization,
        kv_cache_dtype=promises.kv_cache_dtype,
        spot=any(row.pricing_model == "spot" for row in plan.schedule),
        tiers=tuple(tier.value for tier in Tier if tier.value in venues),
        config=options.config,
        terms=(),
        catalogs=options.catalogs,
        seed=promises.seed,
        coming_days=options.coming_days,
    )
    if first is None:
        return planned
    startup = Startup(
        machine_s=first.startup_s - first.startup_paid_s, image_s=0.0, weights_s=first.startup_paid_s, warmup_s=0.0
    )
    engine = Engine(first.engine or planned.engine, promises.engine_version).option
    planned = replace(planned, startup=startup, engine=engine, precision=first.precision or None)
    limits = {(pool.max_num_seqs, pool.max_num_batched_tokens) for pool in plan.pools}
    if len(limits) == 1 and first.max_num_seqs and not table.hardware:
        sequences, tokens = limits.pop()
        planned = replace(planned, max_num_seqs=sequences, max_num_batched_tokens=tokens)
    return planned


def _duration_s(text: str, where: str) -> float:
    seconds = parse_duration_s(text)
    if not seconds:
        raise ConfigError(f"{text!r} is no duration", where=where, fix=DURATION_FIX)
    return seconds
