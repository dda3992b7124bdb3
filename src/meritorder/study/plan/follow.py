"""A plan file carried out on a trace: the same one, or another to judge it by."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder import catalog as facts
from meritorder import planfile
from meritorder.catalog.tokens import token_prices
from meritorder.domain import Model, Offer, PricingModel, TokenPrice
from meritorder.errors import ConfigError, PerformanceError
from meritorder.perf.profile import EngineLimits
from meritorder.sim.saturation import saturate
from meritorder.study.fleet.load import SATURATION_REQUESTS, TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, candidate_profiles
from meritorder.study.fleet.options import Options
from meritorder.study.fleet.workloads import assign_workloads, trace_models
from meritorder.study.plan.check import carry_out
from meritorder.traces import Trace

_AGAIN = "write the plan again with `meritorder plan`"


def follow(
    plan: planfile.Plan, trace: Trace, *, catalogs: tuple[Path, ...] = (), seed: int = 0, where: str = "plan"
) -> planfile.PlanOutcome:
    """Carry a plan out on a trace; where the trace is longer than the plan, the plan's slots come again.

    Args:
        plan: The plan.
        trace: The requests.
        catalogs: Files of models that are not ours.
        seed: Of the lives of spot machines.
        where: The plan's file, for messages.

    Raises:
        ConfigError: The plan does not say how requests come to their promises, or names what is not known here.
    """
    promises = plan.promises
    if promises is None:
        raise ConfigError("the plan does not say what its requests were promised", where=where, fix=_AGAIN)
    catalog = facts.load(catalogs)
    options = Options(model=promises.model, slo=promises.slo, defer=tuple(promises.defer), seed=promises.seed)
    promised = assign_workloads(trace, options, tuple(workload.to_workload() for workload in promises.workloads))
    names = [promises.model] if promises.model else trace_models(trace)
    loads = {catalog.find_model(name): promised.load(options, None if promises.model else name) for name in names}
    planned = {pool.model for pool in plan.pools} | {one.model for one in plan.workloads}
    strange = next((model.id for model in loads if model.id not in planned), None)
    if strange:
        raise ConfigError(
            f"the trace asks for {strange}, which the plan does not serve", where=where, fix="plan for this trace"
        )
    plan = _over(plan, promised.span_s)
    span_s = plan.slots * plan.slot_s
    loads = {model: replace(load, span_s=span_s) for model, load in loads.items()}
    by_id = {model.id: model for model in loads}
    machines = {
        pool.name: _machine(catalog, pool, by_id[pool.model], loads[by_id[pool.model]], promises, where)
        for pool in plan.pools
        if pool.model in by_id
    }
    prices = {_venue(price): price for model in loads for price in token_prices(model)}
    simulated, _ = carry_out(plan, {model.id: load for model, load in loads.items()}, machines, prices, seed=seed)
    rounds = plan.simulated.rounds if plan.simulated else 1
    return structs.replace(simulated, trace=", ".join(trace.report.files), rounds=rounds)


def _venue(price: TokenPrice) -> str:
    return f"{price.provider} {price.provider_model}, {price.tier}"


def _over(plan: planfile.Plan, span_s: float) -> planfile.Plan:
    """Return the plan over a span: its slots repeated, or cut off, and what is bought for as long."""
    slots = max(1, int(np.ceil(span_s / plan.slot_s - 1e-9)))
    if slots == plan.slots:
        return plan
    share = slots / plan.slots

    def again(values: Sequence[float]) -> NDArray[np.float64]:
        return np.resize(np.asarray(values, float), slots)

    return structs.replace(
        plan,
        slots=slots,
        schedule=[
            structs.replace(one, machines=again(one.machines).astype(int).tolist(), saved_usd=one.saved_usd * share)
            for one in plan.schedule
        ],
        pools=[
            structs.replace(one, carbon_usd_per_hour=again(one.carbon_usd_per_hour).tolist())
            if one.carbon_usd_per_hour
            else one
            for one in plan.pools
        ],
        routes=[structs.replace(one, flow=again(one.flow).tolist()) for one in plan.routes],
        commitments=[structs.replace(one, usd=one.usd * share) for one in plan.commitments],
    )


def _machine(  # noqa: PLR0917
    catalog: facts.Catalog,
    pool: planfile.PlanPool,
    model: Model,
    load: TraceLoad,
    promises: planfile.Promises,
    where: str,
) -> CandidateMachine:
    """Return the replica of a pool as the plan names it."""
    options = Options(
        model=model.id,
        hardware=(pool.hardware,),
        engine=pool.engine,
        precision=pool.precision,
        tp=pool.replica_gpus,
        profile=Path(promises.profile) if promises.profile else None,
        roofline=promises.roofline,
    )
    profile = next(iter(candidate_profiles(catalog, model, options, [])), None)
    if profile is None:
        raise PerformanceError(f"no measured performance of {pool.replica}", where=where, fix=_AGAIN)
    limits = structs.replace(
        profile.limits or EngineLimits.for_engine(pool.engine),
        max_num_seqs=pool.max_num_seqs,
        max_num_batched_tokens=pool.max_num_batched_tokens,
    )
    sample = load.sample(SATURATION_REQUESTS)
    none = np.zeros(len(sample))
    offer = Offer(
        provider=pool.provider,
        region=pool.region,
        instance=pool.machine,
        hardware=pool.hardware,
        gpus=pool.gpus,
        pricing_model=PricingModel.ON_DEMAND,
        usd_per_hour=1.0,  # what is paid stands in the plan's schedule
        as_of="",
        source="",
    )
    return CandidateMachine(
        profile=profile,
        offer=offer,
        limits=limits,
        saturation=saturate(sample.requests(none, none), profile, limits),
        startup_s=pool.startup_s,
        startup_paid_s=pool.startup_paid_s,
    )
