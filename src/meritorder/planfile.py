"""A plan as a file: all that the gateway and the simulator learn from the planner.

Versioned JSON. `SCHEMA` changes when a field changes its meaning or goes; a reader refuses what it does not know.
No solver, no arrays: it is read where neither is installed.
"""

from pathlib import Path
from typing import Final

import msgspec

from meritorder.errors import ConfigError

SCHEMA: Final = "meritorder.plan/1"
_FAMILY: Final = "meritorder.plan/"


class PoolUsed(msgspec.Struct, frozen=True, kw_only=True):
    """Machines of one kind at one place. Times in seconds."""

    name: str
    model: str
    replica: str
    provider: str
    region: str
    machine: str
    hardware: str
    gpus: int
    replicas: int
    startup_s: float
    startup_paid_s: float


class PoolSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Machines of a pool under one payment in each slot: `Scheduled(instances=tuple(machines), slot_s=slot_s)`."""

    pool: str
    payment: str
    pricing_model: str
    usd_per_hour: float
    minimum_billing_s: float
    machines: list[int]
    realtime: bool
    deferrable: bool
    usd: float


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a workload goes, by slot: share of the slot's work (real time), or seconds of work (deferrable)."""

    workload: str
    lane: str
    venue: str
    kind: str
    flow: list[float]
    usd: float


class Commitment(msgspec.Struct, frozen=True, kw_only=True):
    """Something bought, or held already, for a term; `usd_per_hour` is paid in each hour of it for each one bought."""

    name: str
    pricing_model: str
    term: str
    payment: str
    amount: float
    have: float
    usd_per_hour: float
    usd: float
    used_share: float
    starts: list[int] = []
    break_even_use: float | None = None
    saves_alone_usd: float | None = None
    saves_together_usd: float | None = None
    ladder: list[tuple[float, int]] = []


class WorkloadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A workload and its promise; patience in seconds, null in the real-time lane."""

    name: str
    lane: str
    model: str
    patience_s: float | None = None
    patience_worth_usd_per_hour: float | None = None
    deferral_saves_usd: float | None = None
    backlog_s: list[float] = []


class PriceUsed(msgspec.Struct, frozen=True, kw_only=True):
    """One price that the plan rests on."""

    what: str
    provider: str
    pricing_model: str
    usd: float
    unit: str
    as_of: str = ""
    source: str = ""
    confidence: str = ""
    assumed: bool = False


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not in the input: `text` says what was taken, `option` how to change it."""

    text: str
    option: str = ""


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the plan, request by request."""

    total_usd: float
    slo_attainment: float | None
    deadlines_missed: int
    trace: str = ""
    rounds: int = 1


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """How sure a share is."""

    low: float
    high: float
    basis: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole plan."""

    total_usd: float
    bound_usd: float
    hard_bound_usd: float
    gap: float
    slot_s: float
    slots: int
    pools: list[PoolUsed]
    schedule: list[PoolSchedule]
    routes: list[Route]
    workloads: list[WorkloadPlan]
    commitments: list[Commitment]
    by_pricing_model: dict[str, float]
    prices: list[PriceUsed]
    assumptions: list[Assumption]
    solve_s: float
    start_epoch_s: float | None = None
    baseline_usd: float | None = None
    saving_usd: float | None = None
    saving_share: float | None = None
    saving_interval: Interval | None = None
    simulated: Simulated | None = None
    spot_worth_usd_per_gpu: dict[str, float] = {}
    warnings: list[str] = []
    schema: str = SCHEMA


class _Header(msgspec.Struct):
    schema: str = ""


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ConfigError: It is not a plan, not of a schema that is known here, or does not fit together; says where.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", where=str(path), fix="give the path of a plan") from error
    try:
        schema = msgspec.json.decode(text, type=_Header).schema
    except msgspec.DecodeError as error:
        raise ConfigError(f"not a plan: {error}", where=str(path), fix="write one with `meritorder plan`") from error
    _check_schema(schema, path)
    try:
        plan = msgspec.json.decode(text, type=Plan)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), where=str(path), fix="write it again with `meritorder plan`") from error
    _check(plan, path)
    return plan


def _check_schema(schema: str, path: Path) -> None:
    if schema == SCHEMA:
        return
    if not schema.startswith(_FAMILY):
        named = f"its schema is {schema!r}" if schema else "it names no schema"
        raise ConfigError(f"not a plan: {named}", where=str(path), fix="write one with `meritorder plan`")
    version = schema.removeprefix(_FAMILY)
    newer = version.isdigit() and int(version) > int(SCHEMA.removeprefix(_FAMILY))
    fix = "upgrade meritorder" if newer else "write it again with `meritorder plan`"
    raise ConfigError(f"a plan of schema {schema}, this version reads {SCHEMA}", where=str(path), fix=fix)


def _check(plan: Plan, path: Path) -> None:
    pools = {pool.name for pool in plan.pools}
    for each in plan.schedule:
        where = f"{path}: schedule of {each.pool}"
        if each.pool not in pools:
            raise ConfigError("no such pool", where=where, fix="write the plan again with `meritorder plan`")
        if len(each.machines) != plan.slots or min(each.machines, default=0) < 0:
            raise ConfigError(f"needs a number of machines for each of {plan.slots} slots", where=where)
    for route in plan.routes:
        if len(route.flow) != plan.slots:
            raise ConfigError(f"needs a value for each of {plan.slots} slots", where=f"{path}: route {route.workload}")
