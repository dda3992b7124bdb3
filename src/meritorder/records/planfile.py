"""The plan file: everything that the gateway, the simulator, and the reports know of a plan.

Versioned JSON. `SCHEMA` changes when a field changes its meaning or is removed; readers refuse an unknown schema.
`meritorder.plan/1`, which had no policy, is still read.
Reading a plan needs neither the solver nor NumPy.
"""

from pathlib import Path
from typing import Final, Self

import msgspec

from meritorder import documents
from meritorder.domain import Access, BackfillLimits, Lane, Slo, Workload
from meritorder.errors import ConfigError
from meritorder.records.evidence import Assumption, Interval, PriceUsed, UnservableRequests
from meritorder.records.planpolicy import Policy
from meritorder.records.planproof import ComingDays, Credit, InHindsight, WalkForward
from meritorder.records.tokenapi import TokenApi

SCHEMA: Final = "meritorder.plan/2"
_FIRST_SCHEMA: Final = "meritorder.plan/1"

PREPAID: Final = frozenset({"reserved", "committed_use", "owned", "capacity_block"})
"""Pricing models whose machines are paid for whether or not they are used."""


class PlanPool(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of machine in one region, and the settings of its engines. Times are in seconds.

    A replica that serves real-time work admits deferrable work while it runs fewer than `backfill_seats` sequences in
    all and uses less than `backfill_kv_share` of its KV memory, and prefills at most `backfill_tokens` of it in a step.
    `backfill_shares` scales both limits by slot; empty means 1 in every slot. `carbon_usd_per_hour` is the carbon price
    of one machine's power by slot; empty without a carbon price. Its machines may exist from `begin_s` on, since the
    first slot began: where the requests of its model begin. With data-parallel attention, `replicas` counts the ranks
    of all servers on a machine, each of which schedules requests by itself, and limits are those of one rank.
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
    engine_version: str = ""
    precision: str = ""
    replica_gpus: int = 1
    attention_ranks: int = 1
    max_num_seqs: int = 0
    max_num_batched_tokens: int = 0
    backfill_seats: int = 0
    backfill_tokens: int = 0
    backfill_kv_share: float = 1.0
    backfill_shares: list[float] = []
    carbon_usd_per_hour: list[float] = []
    begin_s: float = 0.0

    @property
    def servers(self) -> int:
        """Servers on one machine."""
        return self.replicas // self.attention_ranks

    @property
    def backfill(self) -> BackfillLimits:
        """How much deferrable work a replica admits while it serves real-time work."""
        return BackfillLimits(
            sequences=self.backfill_seats, prefill_tokens=self.backfill_tokens, kv_share=self.backfill_kv_share
        )


class PoolSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The number of machines of a pool under one payment in each slot.

    `usd` is their hourly cost after savings plans, which take off `saved_usd`. Prepaid machines cost nothing here:
    their cost is in the commitments.
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


class PlanRoute(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue serves of a workload: by slot, a share of the work (real time) or seconds of work (deferrable).

    `provider` is set for token tiers only; a pool states its own.
    """

    workload: str
    lane: str
    venue: str
    kind: str
    flow: list[float]
    usd: float
    provider: str = ""


class Commitment(msgspec.Struct, frozen=True, kw_only=True):
    """A commitment: `amount` units to buy, `have` held already; a bought unit costs `usd_per_hour` for the term.

    `owed_usd` is the cost of what is bought over its whole term; null without a term in years.
    """

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
    owed_usd: float | None = None


class WorkloadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A workload as planned: its patience (null in the real-time lane), what deferral saves, and where it may run."""

    name: str
    lane: str
    model: str
    patience_s: float | None = None
    patience_worth_usd_per_hour: float | None = None
    deferral_saves_usd: float | None = None
    backlog_s: list[float] = []
    allow: dict[str, list[str]] = {}
    deny: dict[str, list[str]] = {}


class PlanOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of simulating a plan request by request; `rounds` counts the solves until it held.

    `carbon_usd` is an internal price, not a payment: `total_usd` does not include it. `above_floor_usd` is the part of
    the cost of machines that a policy added to its floor; null without a policy. `unservable` requests are left out,
    because none of the plan's machines can serve them in time even alone.
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
    above_floor_usd: float | None = None
    trace: str = ""
    rounds: int = 1
    unservable: int = 0


class PlanSimulation(msgspec.Struct, frozen=True, kw_only=True):
    """The file of `simulate --plan`: the outcome of a plan on its own or another trace."""

    plan: str
    simulated: PlanOutcome
    schema: str = "meritorder.simulation/1"


class DeclaredWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """A workload of the workloads file: the requests it matches, their promise, and the places where they may run."""

    name: str
    lane: str
    deadline: str = ""
    slo: Slo | None = None
    match: list[tuple[str, str]] = []
    allow: dict[str, list[str]] = {}
    deny: dict[str, list[str]] = {}

    @classmethod
    def from_workload(cls, workload: Workload) -> Self:
        """Return a workload as the file states it."""
        return cls(
            name=workload.name,
            lane=workload.lane.value,
            deadline=workload.deadline if workload.lane is Lane.DEFERRABLE else "",
            slo=workload.slo,
            match=list(workload.match),
            allow=workload.access.allow,
            deny=workload.access.deny,
        )

    def to_workload(self) -> Workload:
        """Return the workload that the file states."""
        return Workload(
            name=self.name,
            lane=Lane(self.lane),
            slo=self.slo,
            deadline=self.deadline,
            match=tuple(self.match),
            access=Access.from_tables(self.allow, self.deny),
        )


class Promises(msgspec.Struct, frozen=True, kw_only=True):
    """How requests were assigned lanes and deadlines, and which part of the trace was planned.

    Every engine step is longer by the factor `slower` than in the profile. `engine_version` is the one that the user
    runs, "" if not stated.
    """

    slo: Slo
    defer: list[str] = []
    workloads: list[DeclaredWorkload] = []
    model: str = ""
    seed: int = 0
    scale: float = 1.0
    start: str | None = None
    end: str | None = None
    profile: str = ""
    roofline: bool = False
    slower: float = 1.0
    engine_version: str = ""
    memory_utilization: float | None = None
    kv_cache_dtype: str | None = None


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    """The plan over time: paid GPUs by pricing model, and busy GPUs by lane, in each slot."""

    paid_gpus: dict[str, list[float]]
    realtime_gpus: list[float]
    deferrable_gpus: list[float]
    arrived_gpus: list[float]


class MeritStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the merit order: a venue's price at full load, its capacity over the horizon, and the share used.

    Work is measured in millions of tokens of this traffic.
    """

    venue: str
    pricing_model: str
    usd_per_mtok: float
    capacity_mtok: float
    used_share: float


class CostChange(msgspec.Struct, frozen=True, kw_only=True):
    """One cause of the difference between the baseline's cost and the plan's; negative for a saving."""

    cause: str
    usd: float


class CommitmentBacktest(msgspec.Struct, frozen=True, kw_only=True):
    """The cost on the rest of the trace of a commitment chosen by a rule on its first part, against no commitment."""

    commitment: str
    rule: str
    machines: int
    usd: float
    saving_usd: float


class CommitmentRegret(msgspec.Struct, frozen=True, kw_only=True):
    """The cost over the span of the plan with its commitments if demand falls to this share of the planned demand."""

    demand_share: float
    usd: float
    best_usd: float
    usd_lost: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A whole plan. `total_usd` is its simulated cost, `planned_usd` the cost of the solver's solution.

    With a `policy`, that is what runs: `schedule` then has the prices of its machines, and those of the hindsight plan.
    A carbon price is part of `planned_usd`, the bounds, and the gap, but not of `total_usd`. `bound_usd` is the lower
    bound of the program that produced the plan; `first_bound_usd` that of the first program, before any derating. They
    are equal if the first plan held.
    """

    total_usd: float
    planned_usd: float
    bound_usd: float
    hard_bound_usd: float
    gap: float
    first_bound_usd: float | None = None
    slot_s: float
    slots: int
    pools: list[PlanPool]
    schedule: list[PoolSchedule]
    policy: Policy | None = None
    policy_outcome: PlanOutcome | None = None
    routes: list[PlanRoute]
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
    simulated: PlanOutcome | None = None
    in_hindsight: InHindsight | None = None
    walk_forward: WalkForward | None = None
    coming: ComingDays | None = None
    credited: list[Credit] = []
    spot_worth_usd_per_gpu: dict[str, float] = {}
    sentence: str = ""
    performance: list[str] = []
    waterfall: list[CostChange] = []
    dispatch: Dispatch | None = None
    merit_order: list[MeritStep] = []
    backtest: list[CommitmentBacktest] = []
    commitment_regret: CommitmentRegret | None = None
    tokens_usd: dict[str, float] = {}
    apis: list[TokenApi] = []
    unservable: UnservableRequests | None = None
    warnings: list[str] = []
    schema: str = SCHEMA


class _FirstPlan(Plan, frozen=True, kw_only=True):
    """A plan of the first schema, where the regret of the commitments had another name."""

    regret: CommitmentRegret | None = None

    def upgraded(self) -> Plan:
        """Return it as a plan of this schema."""
        fields = {name: getattr(self, name) for name in Plan.__struct_fields__}
        return Plan(**fields | {"commitment_regret": self.regret, "policy": None, "schema": SCHEMA})


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan as JSON: `schema` first, each numeric array on one line."""
    path.write_bytes(documents.encode(plan))


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ConfigError: The file is not a plan, has an unknown schema, or contradicts itself.
    """
    try:
        text = documents.read_file(path)
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", where=str(path), fix="give the path of a plan") from error
    plan: Plan
    what, command = "a plan", "meritorder plan"
    if documents.schema_of(text) == _FIRST_SCHEMA:
        first = documents.decode(text, _FirstPlan, schema=_FIRST_SCHEMA, what=what, command=command, where=str(path))
        plan = first.upgraded()
    else:
        plan = documents.decode(text, Plan, schema=SCHEMA, what=what, command=command, where=str(path))
    _check(plan, path)
    return plan


def _check(plan: Plan, path: Path) -> None:
    pools = {pool.name for pool in plan.pools}
    for schedule in plan.schedule:
        where = f"{path}: schedule of {schedule.pool}"
        if schedule.pool not in pools:
            raise ConfigError(
                "the plan has no such pool", where=where, fix="write the plan again with `meritorder plan`"
            )
        if len(schedule.machines) != plan.slots or min(schedule.machines, default=0) < 0:
            raise ConfigError(f"needs a machine count for each of {plan.slots} slots", where=where)
    for pool in plan.pools:
        shares, where = pool.backfill_shares, f"{path}: {pool.name}"
        if len(pool.carbon_usd_per_hour) not in {0, plan.slots}:
            raise ConfigError(f"needs a carbon price for each of {plan.slots} slots", where=where)
        if len(shares) not in {0, plan.slots} or not all(0 < share <= 1 for share in shares):
            raise ConfigError(
                f"needs a backfill share above 0 and at most 1 for each of {plan.slots} slots", where=where
            )
    for route in plan.routes:
        if len(route.flow) != plan.slots:
            raise ConfigError(f"needs a value for each of {plan.slots} slots", where=f"{path}: route {route.workload}")
    if plan.policy:
        plan.policy.check({(row.pool, row.payment) for row in plan.schedule}, str(path))
