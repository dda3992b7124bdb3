"""What is said about a plan that is a known arrangement."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import Lane
from meritorder.planner.model.demand import Horizon
from meritorder.planner.model.supply import Holdings, Reserved, machine_key
from meritorder.records import planfile
from meritorder.records.evidence import PriceUsed
from meritorder.records.planproof import Credit
from meritorder.study.compare.certainty import saving_interval
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.speeds import performance, speed_assumptions
from meritorder.study.fleet.spot import spot_assumptions
from meritorder.study.plan import explain
from meritorder.study.plan.arranged import ArrangedPool, Served
from meritorder.study.plan.arrangements import Arrangements
from meritorder.study.plan.held import held_assumptions, is_held
from meritorder.study.plan.record import Explanation
from meritorder.study.schedule.demand import request_classes, slot_index
from meritorder.study.schedule.options import PlanOptions
from meritorder.units import SECONDS_PER_HOUR, TOKENS_PER_MTOK

Floats = NDArray[np.float64]


def explain_arrangements(
    served: Sequence[Served],
    pools: Sequence[ArrangedPool],
    horizon: Horizon,
    options: PlanOptions,
    *,
    total_usd: float,
    credited: Sequence[Credit],
    several_models: bool,
    holdings: Holdings,
) -> Explanation:
    """Explain a plan that is a known arrangement.

    Args:
        served: The arrangements.
        pools: Their pools.
        horizon: The slots of the plan.
        options: What was planned, and within which limits.
        total_usd: Simulated cost of the plan.
        credited: What each cause saved.
        several_models: Whether names of workloads include their model.
        holdings: What is held already.
    """
    rented = [arranged for arranged in pools if arranged.account.paid_s > 0]
    machines = [arranged.machine for arranged in rented]
    groups = [part.group for part in served]
    tokens = [price for part in served if part.bought for price in part.bought.prices.values()]
    return Explanation(
        planned_usd=total_usd,
        solve_s=0.0,
        workloads=_workloads(groups, horizon, several_models=several_models),
        commitments=[_holding(reserved, pools) for reserved in holdings.reserved],
        prices=[
            PriceUsed.from_offer(offer, assumed=offer.assumed)
            for offer in {machine.offer.label: machine.offer for machine in machines if not is_held(machine)}.values()
        ]
        + [PriceUsed.from_token_price(price, assumed=False) for price in dict.fromkeys(tokens)],
        performance=performance(machines),
        dispatch=_dispatch(groups, pools, horizon),
        merit_order=_merit_order(rented),
        waterfall=[planfile.CostChange(cause=credit.cause, usd=-credit.usd) for credit in credited],
        assumptions=[
            *explain.promise_assumptions([group.load for group in groups], options),
            *speed_assumptions(machines),
            *spot_assumptions(machines, options),
            *held_assumptions(holdings),
        ],
        saving_interval=(
            saving_interval(groups[0].found, groups[0].search, options.seed)
            if [part.trial for part in served] == [groups[0].cheapest]
            and not (holdings.reserved or holdings.savings_plans)
            else None
        ),
    )


def _holding(held: Reserved, pools: Sequence[ArrangedPool]) -> planfile.Commitment:
    """Return machines that are held as a commitment of the plan, and the share of them that it uses."""
    own = [pool for pool in pools if pool.held and machine_key(pool.machine.offer) == held.machine]
    used = sum(pool.account.peak_instances for pool in own)
    return planfile.Commitment(
        name=held.name,
        pricing_model=held.kind,
        term=held.term,
        payment=held.payment,
        amount=0.0,
        have=held.held,
        usd_per_hour=0.0,
        usd=0.0,
        used_share=min(1.0, used / held.held),
    )


def _workloads(
    groups: Sequence[Arrangements], horizon: Horizon, *, several_models: bool
) -> list[planfile.WorkloadPlan]:
    rows: list[planfile.WorkloadPlan] = []
    for group in groups:
        classes = request_classes(group.load, horizon.slot_s, group.model if several_models else "")
        waiting = [members for members in classes if members.deferrable]
        for members in classes:
            wait_s = group.load.deadline_s[members.members] - group.load.arrived_s[members.members]
            alone = members.deferrable and len(waiting) == 1
            rows.append(
                planfile.WorkloadPlan(
                    name=members.name,
                    lane=(Lane.DEFERRABLE if members.deferrable else Lane.REALTIME).value,
                    model=group.model,
                    patience_s=float(wait_s.min()) if members.deferrable else None,
                    deferral_saves_usd=group.found.realtime.usd - group.found.mix.usd if alone else None,
                    allow=members.access.allow,
                    deny=members.access.deny,
                )
            )
    return rows


def _gpus_of_rank(machine: CandidateMachine) -> float:
    """Return the GPUs of what schedules requests by itself: of a replica, or of a rank of data-parallel attention."""
    return machine.offer.gpus / machine.replicas


def _dispatch(groups: Sequence[Arrangements], pools: Sequence[ArrangedPool], horizon: Horizon) -> planfile.Dispatch:
    """Return the arrangements over time, in GPUs by slot."""
    slot_s, slots = horizon.slot_s, horizon.slots
    paid: dict[str, Floats] = {}
    busy = {"realtime": np.zeros(slots), "deferrable": np.zeros(slots)}
    for arranged in pools:
        result, gpus = arranged.trial.result, _gpus_of_rank(arranged.machine)
        model = arranged.machine.offer.pricing_model.value
        paid_s = arranged.by_slot(result.capacity_bins_s, slot_s, slots)
        if paid_s.any():
            paid[model] = paid.get(model, np.zeros(slots)) + paid_s * gpus / slot_s
        busy["realtime"] += arranged.by_slot(result.realtime_bins_s, slot_s, slots) * gpus / slot_s
        busy["deferrable"] += arranged.by_slot(result.deferrable_bins_s, slot_s, slots) * gpus / slot_s
    arrived = np.zeros(slots)
    for group in groups:
        waiting = group.load.select(group.load.deferrable).on_trace_clock
        machine = group.cheapest.pools[-1][0]
        work_s = machine.work_s(waiting) if len(waiting) else np.zeros(0)
        slot = slot_index(waiting.arrived_s, slot_s, slots)
        arrived += np.bincount(slot, weights=work_s * _gpus_of_rank(machine) / slot_s, minlength=slots)
    return planfile.Dispatch(
        paid_gpus={model: gpus.tolist() for model, gpus in paid.items()},
        realtime_gpus=busy["realtime"].tolist(),
        deferrable_gpus=busy["deferrable"].tolist(),
        arrived_gpus=arrived.tolist(),
    )


def _merit_order(pools: Iterable[ArrangedPool]) -> list[planfile.MeritStep]:
    """Return the cost of a unit of work in each pool at full utilization, cheapest first."""
    steps = []
    for arranged in pools:
        machine, account = arranged.machine, arranged.account
        mtok_per_hour = machine.saturation.tokens_per_s * SECONDS_PER_HOUR / TOKENS_PER_MTOK
        steps.append(
            planfile.MeritStep(
                venue=arranged.name,
                pricing_model=machine.offer.pricing_model.value,
                usd_per_mtok=machine.usd_per_replica_hour / mtok_per_hour,
                capacity_mtok=account.paid_s / SECONDS_PER_HOUR * mtok_per_hour,
                used_share=(account.realtime_s + account.deferrable_s) / account.paid_s,
            )
        )
    return sorted(steps, key=lambda step: step.usd_per_mtok)
