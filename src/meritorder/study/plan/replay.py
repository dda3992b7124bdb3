"""Replay of a plan file on a trace: its own trace reproduces the plan, another one tests it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import structs

from meritorder import catalog as facts
from meritorder.catalog.tokens import token_prices
from meritorder.domain import Attention, Model, PricingModel
from meritorder.errors import ConfigError, PerformanceError
from meritorder.offers import Offer
from meritorder.perf.limits import limits_of
from meritorder.perf.versions import Engine
from meritorder.records import planfile
from meritorder.sim.saturation import saturate
from meritorder.study.fleet.load import SATURATION_REQUESTS, TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, candidate_profiles
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.fleet.servable import Server, split_servable
from meritorder.study.fleet.workloads import assign_workloads
from meritorder.study.schedule.demand import venue_name
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.simulate import ModelOutcome, simulate_plan
from meritorder.traces import Trace

_WRITE_AGAIN: Final = "write the plan again with `meritorder plan`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A plan simulated on a trace.

    Args:
        outcome: The outcome as a whole.
        models: The outcome by model.
        machines: The replica of each pool, by the pool's name.
        span_s: Time that the trace covers.
    """

    outcome: planfile.PlanOutcome
    models: Mapping[str, ModelOutcome]
    machines: Mapping[str, CandidateMachine]
    span_s: float


def replay(
    plan: planfile.Plan, trace: Trace, *, catalogs: tuple[facts.Source, ...] = (), seed: int = 0, where: str = "plan"
) -> planfile.PlanOutcome:
    """Return the outcome of a plan on a trace; arguments as for `replay_in_detail`."""
    return replay_in_detail(plan, trace, catalogs=catalogs, seed=seed, where=where).outcome


def replay_in_detail(
    plan: planfile.Plan, trace: Trace, *, catalogs: tuple[facts.Source, ...] = (), seed: int = 0, where: str = "plan"
) -> Replay:
    """Simulate a plan on a trace; the slots of the plan repeat if the trace is longer.

    Args:
        plan: The plan.
        trace: The requests.
        catalogs: Catalog files in addition to the built-in ones, and rates of currencies.
        seed: Seed of the lifetimes of spot machines.
        where: The plan's file, for messages.

    Raises:
        ConfigError: The plan lacks the promises of its requests, or does not serve a model of the trace.
    """
    promises = plan.promises
    if promises is None:
        raise ConfigError("the plan does not state the promises of its requests", where=where, fix=_WRITE_AGAIN)
    catalog = facts.load(catalogs)
    options = CompareOptions(model=promises.model, slo=promises.slo, defer=tuple(promises.defer), seed=promises.seed)
    promised = assign_workloads(trace, options, tuple(workload.to_workload() for workload in promises.workloads))
    names: dict[Model, list[str]] = {}
    for name in [promises.model] if promises.model else trace.models:
        names.setdefault(catalog.find_model(name), []).append(name)
    models = {model.id: model for model in names}
    asked = {model.id: promised.load(options, () if promises.model else names[model]) for model in names}
    planned = {pool.model for pool in plan.pools} | {workload.model for workload in plan.workloads}
    unknown = next((name for name in asked if name not in planned), None)
    if unknown:
        raise ConfigError(
            f"the trace asks for {unknown}, which the plan does not serve", where=where, fix="plan for this trace"
        )
    executable = ExecutablePlan.from_file(plan).over(promised.span_s)
    servers = {
        pool.name: _server(catalog, pool, models[pool.model], promises=promises, where=where)
        for pool in plan.pools
        if pool.model in models
    }
    loads, unservable = (asked, 0) if plan.unservable is None else _servable(asked, servers, plan)
    machines = {
        pool.name: _machine(pool, servers[pool.name], loads[pool.model]) for pool in plan.pools if pool.name in servers
    }
    prices = {
        venue_name(price): price for model in models.values() for price in token_prices(model, own=catalog.tokens)
    } | {api.venue: api.price for api in plan.apis}
    outcome, by_model = simulate_plan(executable, loads, machines, prices, seed=seed)
    expected = plan.policy_outcome if plan.policy else plan.simulated
    rounds = expected.rounds if expected else 1
    return Replay(
        outcome=structs.replace(outcome, trace=", ".join(trace.report.files), rounds=rounds, unservable=unservable),
        models=by_model,
        machines=machines,
        span_s=promised.span_s,
    )


def _servable(
    asked: Mapping[str, TraceLoad], servers: Mapping[str, Server], plan: planfile.Plan
) -> tuple[dict[str, TraceLoad], int]:
    """Return the requests of each model that the plan can serve in time, and the number of those that it cannot."""
    loads: dict[str, TraceLoad] = {}
    left_out = 0
    for model, load in asked.items():
        loads[model], unservable = split_servable(load, [servers[p.name] for p in plan.pools if p.model == model])
        left_out += unservable.requests if unservable else 0
    return loads, left_out


def _server(
    catalog: facts.Catalog, pool: planfile.PlanPool, model: Model, *, promises: planfile.Promises, where: str
) -> Server:
    """Return the replica that the plan states for a pool."""
    options = CompareOptions(
        model=model.id,
        hardware=(pool.hardware,),
        engine=Engine(pool.engine, promises.engine_version).option,
        precision=pool.precision,
        tp=pool.replica_gpus,
        attention=Attention.DATA if pool.attention_ranks > 1 else Attention.TENSOR,
        profile=Path(promises.profile) if promises.profile else None,
        roofline=promises.roofline,
        slower=promises.slower,
        memory_utilization=promises.memory_utilization,
        kv_cache_dtype=promises.kv_cache_dtype,
    )
    profile = next(iter(candidate_profiles(catalog, model, options, [])), None)
    if profile is None:
        raise PerformanceError(f"no measured performance of {pool.replica}", where=where, fix=_WRITE_AGAIN)
    limits = limits_of(profile, max_num_seqs=pool.max_num_seqs, max_num_batched_tokens=pool.max_num_batched_tokens)
    offer = Offer(
        provider=pool.provider,
        region=pool.region,
        instance=pool.machine,
        hardware=pool.hardware,
        gpus=pool.gpus,
        pricing_model=PricingModel.ON_DEMAND,
        usd_per_hour=1.0,  # unused: prices come from the plan's schedule
        as_of="",
        source="",
    )
    return Server(profile=profile, limits=limits, offers=(offer,))


def _machine(pool: planfile.PlanPool, server: Server, load: TraceLoad) -> CandidateMachine:
    """Return the machine of a pool, its replicas saturated with some requests."""
    sample = load.sample(SATURATION_REQUESTS)
    none = np.zeros(len(sample))
    return CandidateMachine(
        profile=server.profile,
        offer=server.offers[0],
        limits=server.limits,
        saturation=saturate(sample.requests(none, none), server.profile, server.limits),
        startup_s=pool.startup_s,
        startup_paid_s=pool.startup_paid_s,
    )
