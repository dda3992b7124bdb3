"""A plan as a file: all that the gateway and the simulator learn from the planner.

Versioned JSON. `SCHEMA` changes when a field changes its meaning or goes; a reader refuses what it does not know.
No solver, no arrays: it is read where neither is installed.
"""

from pathlib import Path
from typing import Final

import msgspec

from meritorder import documents
from meritorder.domain import BackfillLimits
from meritorder.errors import ConfigError
from meritorder.evidence import Assumption, Interval, PriceUsed

SCHEMA: Final = "meritorder.plan/1"
_FAMILY: Final = "meritorder.plan/"

PREPAID: Final = frozenset({"reserved", "committed_use", "owned", "capacity_block"})
"""Pricing models whose machines are paid for whether they are used or not."""

OWN_DEADLINE: Final = "own deadline"
"""The workload of requests that bring a deadline and that no declared one takes."""


class PoolUsed(msgspec.Struct, frozen=True, kw_only=True):
    """Machines of one kind at one place, and how their engines run. Times in seconds.

    While a replica serves real-time work, it holds at most `backfill_seats` sequences with deferrable work among them,
    takes `backfill_tokens` of its prompts in a step, and none that would fill more than `backfill_kv_share` of its KV
    memory; of these seats and this memory it takes `backfill_shares` in each slot, all if empty. `carbon_usd_per_hour`
    is the price of the carbon of one machine's power in each slot, empty if carbon has no price.
    """

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
    engine: str = ""
    precision: str = ""
    replica_gpus: int = 1
    max_num_seqs: int = 0
    max_num_batched_tokens: int = 0
    backfill_seats: int = 0
    backfill_tokens: int = 0
    backfill_kv_share: float = 1.0
    backfill_shares: list[float] = []
    carbon_usd_per_hour: list[float] = []

    @property
    def backfill(self) -> BackfillLimits:
        """How much deferrable work a replica admits while it serves real-time work."""
        return BackfillLimits(
            sequences=self.backfill_seats, prefill_tokens=self.backfill_tokens, kv_share=self.backfill_kv_share
        )


class PoolSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Machines of a pool under one payment in each slot: `Scheduled(instances=tuple(machines), slot_s=slot_s)`.

    `usd` is what is paid for them by the hour, less `saved_usd`, which savings plans take off; what is prepaid is in
    the commitments.
    """

    pool: str
    payment: str
    pricing_model: str
    usd_per_hour: float
    minimum_billing_s: float
    machines: list[int]
    realtime: bool
    deferrable: bool
    usd: float
    interruptions_per_hour: float = 0.0
    saved_usd: float = 0.0


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a workload goes, by slot: share of the slot's work (real time), or seconds of work (deferrable).

    `provider` is who sells a token tier; a pool says for itself whose it is.
    """

    workload: str
    lane: str
    venue: str
    kind: str
    flow: list[float]
    usd: float
    provider: str = ""


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
    """A workload and its promise: patience in seconds, null in the real-time lane; where it may run, globs by place."""

    name: str
    lane: str
    model: str
    patience_s: float | None = None
    patience_worth_usd_per_hour: float | None = None
    deferral_saves_usd: float | None = None
    backlog_s: list[float] = []
    allow: dict[str, list[str]] = {}
    deny: dict[str, list[str]] = {}


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the plan, request by request; `rounds` counts how often it was solved until it held.

    `carbon_usd` is the price of the carbon, which nobody is paid: it is not in `total_usd`.
    """

    total_usd: float
    slo_attainment: float | None
    deadlines_missed: int
    requests: int = 0
    kept: bool = True
    utilization: float | None = None
    ttft_p99_s: float | None = None
    tpot_p99_s: float | None = None
    interruptions: int = 0
    tokens_usd: float = 0.0
    carbon_usd: float = 0.0
    usd_by_pool: dict[str, float] = {}
    trace: str = ""
    rounds: int = 1


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that was carried out on a trace, its own or another."""

    plan: str
    simulated: Simulated
    schema: str = "meritorder.simulation/1"


class Slo(msgspec.Struct, frozen=True, kw_only=True):
    """A real-time promise."""

    ttft_s: float
    tpot_s: float
    attainment: float


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A declared workload: what it takes, what it is promised, and where it may run: globs by place."""

    name: str
    lane: str
    deadline: str = ""
    slo: Slo | None = None
    match: list[tuple[str, str]] = []
    allow: dict[str, list[str]] = {}
    deny: dict[str, list[str]] = {}


class Promises(msgspec.Struct, frozen=True, kw_only=True):
    """How the requests of a trace come to their lanes and deadlines, and which stretch of it was planned."""

    slo: Slo
    defer: list[str] = []
    workloads: list[Rule] = []
    model: str = ""
    seed: int = 0
    scale: float = 1.0
    start: str | None = None
    end: str | None = None
    profile: str = ""
    roofline: bool = False


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    """The plan over time, in GPUs, by slot: what is paid for by pricing model, and what it works on."""

    paid_gpus: dict[str, list[float]]
    realtime_gpus: list[float]
    deferrable_gpus: list[float]
    arrived_gpus: list[float]


class Merit(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the merit order: the work that a venue could do, and what a unit of it costs there when full.

    A unit is a million tokens of this traffic; `capacity` is how many of them it could do over the horizon, and
    `used_share` how much of that the plan uses.
    """

    venue: str
    pricing_model: str
    usd_per_mtok: float
    capacity_mtok: float
    used_share: float


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the difference between what is paid today and the plan; negative where it saves."""

    cause: str
    usd: float


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """What committing by a rule on the first part of the trace would have cost on the rest, against no commitment."""

    commitment: str
    rule: str
    machines: int
    usd: float
    saving_usd: float


class Regret(msgspec.Struct, frozen=True, kw_only=True):
    """What the commitments cost if demand turns out to be this share of what was planned for."""

    demand_share: float
    usd: float
    best_usd: float
    usd_lost: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole plan. `total_usd` is what it cost when it was simulated, `planned_usd` what the programme says.

    If carbon has a price, it is in `planned_usd`, in the bounds and in the gap, and not in `total_usd`. `bound_usd` is
    of the programme that made the plan, `first_bound_usd` of the one before plans that broke a promise had shown how
    much less machines carry; equal where the first plan held.
    """

    total_usd: float
    planned_usd: float
    bound_usd: float
    hard_bound_usd: float
    gap: float
    first_bound_usd: float | None = None
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
    promises: Promises | None = None
    start_epoch_s: float | None = None
    carbon_usd_per_tonne: float | None = None
    baseline: str = ""
    baseline_usd: float | None = None
    saving_usd: float | None = None
    saving_share: float | None = None
    saving_interval: Interval | None = None
    simulated: Simulated | None = None
    spot_worth_usd_per_gpu: dict[str, float] = {}
    sentence: str = ""
    performance: list[str] = []
    waterfall: list[Part] = []
    dispatch: Dispatch | None = None
    merit_order: list[Merit] = []
    backtest: list[Backtest] = []
    regret: Regret | None = None
    tokens_usd: dict[str, float] = {}
    warnings: list[str] = []
    schema: str = SCHEMA


class _Header(msgspec.Struct):
    schema: str = ""


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan as JSON, `schema` first, every array of numbers on one line."""
    path.write_bytes(documents.encode(plan))


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
    for pool in plan.pools:
        shares, where = pool.backfill_shares, f"{path}: {pool.name}"
        if len(pool.carbon_usd_per_hour) not in {0, plan.slots}:
            raise ConfigError(f"needs a price of carbon for each of {plan.slots} slots", where=where)
        if len(shares) not in {0, plan.slots} or not all(0 < share <= 1 for share in shares):
            raise ConfigError(
                f"needs a share of backfill, more than 0 and at most 1, for each of {plan.slots} slots", where=where
            )
    for route in plan.routes:
        if len(route.flow) != plan.slots:
            raise ConfigError(f"needs a value for each of {plan.slots} slots", where=f"{path}: route {route.workload}")
