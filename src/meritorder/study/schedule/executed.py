"""The part of a plan that the simulator executes: all that the plan file records of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from msgspec import structs

from meritorder.records import planfile
from meritorder.records.planpolicy import Policy
from meritorder.sim.pools import Scaling, Scheduled, policy_scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutablePlan:
    """The part of a plan that the simulator executes.

    Args:
        slot_s: Length of a slot.
        slots: Number of slots.
        pools: Pools with machines.
        schedule: Machines by pool, payment and slot.
        routes: Venues of each workload by slot.
        commitments: Commitments; their cost is part of the plan's.
        several_models: Whether names of workloads include their model.
        policy: What runs instead of the schedule, which then has the prices alone; None for the schedule.
        scalings: How the machines of a pool under a payment are scaled instead, with hindsight by the tick.
    """

    slot_s: float
    slots: int
    pools: list[planfile.PlanPool]
    schedule: list[planfile.PoolSchedule]
    routes: list[planfile.PlanRoute]
    commitments: list[planfile.Commitment]
    several_models: bool
    policy: Policy | None = None
    scalings: Mapping[tuple[str, str], Scaling] = field(default_factory=dict)

    @classmethod
    def from_file(cls, plan: planfile.Plan) -> Self:
        """Return the executable part of a plan file."""
        return cls(
            slot_s=plan.slot_s,
            slots=plan.slots,
            pools=plan.pools,
            schedule=plan.schedule,
            routes=plan.routes,
            commitments=plan.commitments,
            several_models=len({workload.model for workload in plan.workloads}) > 1,
            policy=plan.policy,
        )

    @property
    def span_s(self) -> float:
        """Length of the plan."""
        return self.slots * self.slot_s

    @property
    def buys_tokens(self) -> bool:
        """Whether some requests go to a token API."""
        return any(route.kind == "tier" for route in self.routes)

    def scaling(self, row: planfile.PoolSchedule, startup_s: float, begin_s: float) -> Scaling | None:
        """Return how the machines of a row of the schedule are scaled; None if none ever run.

        Args:
            row: The row.
            startup_s: Start-up of its machines.
            begin_s: When they may first exist, since the first slot began.
        """
        if (row.pool, row.payment) in self.scalings:
            return self.scalings[row.pool, row.payment]
        if self.policy is None:
            slots = Scheduled(
                instances=tuple(row.machines), slot_s=self.slot_s, ahead_s=startup_s, first_slot_s=-begin_s
            )
            return slots if any(row.machines) else None
        rules = self.policy.rules_of(row.pool, row.payment)
        return policy_scaling(rules, self.policy.slot_s, span_s=self.span_s, ahead_s=startup_s, first_slot_s=-begin_s)

    def over(self, span_s: float) -> Self:
        """Return the plan for a time span: slots are repeated or cut off, and commitments cost in proportion."""
        slots = max(1, int(np.ceil(span_s / self.slot_s - 1e-9)))
        if slots == self.slots:
            return self
        share = slots / self.slots

        def repeated(values: Sequence[float]) -> list[float]:
            return [values[slot % len(values)] for slot in range(slots)]

        return replace(
            self,
            slots=slots,
            schedule=[
                structs.replace(row, machines=[int(n) for n in repeated(row.machines)], saved_usd=row.saved_usd * share)
                for row in self.schedule
            ],
            pools=[
                structs.replace(
                    pool,
                    carbon_usd_per_hour=repeated(pool.carbon_usd_per_hour) if pool.carbon_usd_per_hour else [],
                    backfill_shares=repeated(pool.backfill_shares) if pool.backfill_shares else [],
                )
                for pool in self.pools
            ],
            routes=[structs.replace(route, flow=repeated(route.flow)) for route in self.routes],
            commitments=[structs.replace(bought, usd=bought.usd * share) for bought in self.commitments],
        )
