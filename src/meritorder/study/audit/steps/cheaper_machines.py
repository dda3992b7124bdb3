"""The same work on cheaper machines: at list price, in another region, on spot, or of a newer generation."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Final

import numpy as np

from meritorder.domain import Hardware, PricingModel
from meritorder.offers import Offer
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.perf.shipped import shipped_profiles
from meritorder.records.findings import Confidence
from meritorder.study.audit.context import AuditContext
from meritorder.study.audit.ledger import Ledger, StepResult, worth_reporting
from meritorder.study.audit.market import MachinePrice, geography, lowest, title
from meritorder.study.audit.pools import BilledPool
from meritorder.units import SECONDS_PER_HOUR, SECONDS_PER_MINUTE, format_share, format_usd, interruptions_per_hour

_MIN_REGION_SAVING: Final = 0.03
"""A region must be cheaper by this share to be worth a move."""

_ROUNDING: Final = 0.01
"""A price above the list by less than this share is rounding, or a list price of another day."""

_UNKNOWN_INTERRUPTIONS: Final = 0.25
"""Share of spot machines interrupted in a month if none is stated: the highest of AWS's classes (2025-06)."""

_LOST_S: Final = 10 * SECONDS_PER_MINUTE
"""Paid time lost to an interruption: work done again, and the start of the next machine. Assumed."""

_MIN_SUCCESSOR_SAVING: Final = 0.05
"""A successor must be cheaper by this share to be worth a move."""

_PROMPT_PER_OUTPUT: Final = 4.0
"""Prompt tokens for each generated one. Assumed, for the comparison of hardware."""

_CONTEXT_TOKENS: Final = 2000
"""Context of a request in tokens. Assumed, for the comparison of hardware."""

Speedup = tuple[float, Confidence, str]
"""How many times faster one GPU is than another, how certain that is, and its basis."""


def find_prices_above_list(ledger: Ledger, context: AuditContext) -> StepResult:
    """Find machines that cost more than their list price."""
    pools, findings = [], []
    for pool in ledger.pools:
        price = context.market.on_demand(pool.machine)
        if price is None or pool.usd_per_hour <= price.usd_per_hour * (1 + _ROUNDING):
            pools.append(pool)
            continue
        cheaper = replace(pool, usd_per_hour=price.usd_per_hour)
        pools.append(cheaper)
        _record(context, price, "list price against what was paid")
        findings.append(
            ledger.finding(
                "above_list_price",
                usd=pool.usd - cheaper.usd,
                title=f"{pool.machine.label} costs more than its list price",
                confidence=lowest("medium", price.confidence),
                evidence=f"{pool.on_demand.sum():,.0f} hours at {format_usd(pool.usd_per_hour)} an hour; list price "
                f"{format_usd(price.usd_per_hour)} ({price.source})",
                fix="ask the seller for the list price: "
                f"meritorder prices --provider {pool.machine.provider}{_region(pool)}",
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), findings


def find_cheaper_regions(ledger: Ledger, context: AuditContext) -> StepResult:
    """Find machines that cost less in another region of the same geography."""
    pools, findings = [], []
    for pool in ledger.pools:
        offers = () if pool.on_spot else context.market.in_other_regions(pool.machine)
        if not offers or offers[0].usd_per_hour >= pool.usd_per_hour * (1 - _MIN_REGION_SAVING) or not pool.usd:
            pools.append(pool)
            continue
        offer = offers[0]
        moved = replace(pool, usd_per_hour=offer.usd_per_hour, machine=replace(pool.machine, region=offer.region))
        pools.append(moved)
        context.market.record(offer, "a cheaper region")
        findings.append(
            ledger.finding(
                "cheaper_region",
                usd=pool.usd - moved.usd,
                title=f"{pool.machine.label} costs less in {offer.region}",
                confidence="low",
                evidence=f"{pool.on_demand.sum():,.0f} hours at {format_usd(pool.usd_per_hour)} an hour; in "
                f"{offer.region} {format_usd(offer.usd_per_hour)} ({title(offer.source)}, {offer.as_of}). Latency, "
                f"data transfer and data residency within {geography(offer.region)} are not considered",
                fix="move it, if data and latency allow; " + context.compare_advice(pool.machine, region=offer.region),
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), findings


def find_work_for_spot(ledger: Ledger, context: AuditContext) -> StepResult:
    """Find on-demand machines whose work may wait and could run on spot.

    price = spot price / share of the time that is not lost to interruptions
    """
    pools, findings = [], []
    for pool in ledger.pools:
        price = context.market.spot(pool.machine) if pool.may_wait else None
        share, basis = _productive_share(pool, price, context)
        if price is None or not worth_reporting(pool.usd - pool.on_demand.sum() * price.usd_per_hour / share):
            pools.append(pool)
            continue
        cheaper = replace(pool, usd_per_hour=price.usd_per_hour / share, on_spot=True)
        pools.append(cheaper)
        _record(context, price, "spot for work that may wait")
        findings.append(
            ledger.finding(
                "spot_for_deferrable",
                usd=pool.usd - cheaper.usd,
                title=f"{pool.machine.label} is bought on demand for work that may wait",
                confidence=price.confidence,
                evidence=f"{pool.on_demand.sum():,.0f} on-demand hours{pool.serves} of work that may wait, "
                f"at {format_usd(pool.usd_per_hour)}; on spot {format_usd(price.usd_per_hour)} ({price.source}), and "
                f"{format_share(1 - share, 1)} of it lost to interruptions ({basis})",
                fix="run it on spot within its deadlines; "
                + context.compare_advice(pool.machine, more="--spot --defer 100%@24h"),
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), findings


def _productive_share(pool: BilledPool, price: MachinePrice | None, context: AuditContext) -> tuple[float, str]:
    """Return the share of spot time that is not lost to interruptions, and the rate that this is based on."""
    stated = price.offer.interruptions_per_month if price and price.offer else None
    if stated is None:
        stated = context.market.interruptions_per_month(pool.machine)
    basis = f"{format_share(stated)} of machines interrupted a month" if stated is not None else "rate assumed"
    rate = interruptions_per_hour(_UNKNOWN_INTERRUPTIONS if stated is None else stated)
    return 1 - min(0.5, rate * _LOST_S / SECONDS_PER_HOUR), basis


def _record(context: AuditContext, price: MachinePrice, used_for: str) -> None:
    if price.offer:
        context.market.record(price.offer, used_for)


def _region(pool: BilledPool) -> str:
    return f" --region {pool.machine.region}" if pool.machine.region else ""


def find_newer_generations(ledger: Ledger, context: AuditContext) -> StepResult:
    """Find on-demand machines that fewer successors in the same region replace at lower cost, in whole machines."""
    pools, findings = [], []
    for pool in ledger.pools:
        best = None if pool.on_spot or not pool.usd else _best_successor(pool, context)
        if best is None:
            pools.append(pool)
            continue
        offer, usd, (speedup, confidence, basis) = best
        pools.append(replace(pool, machine=replace(pool.machine, instance=offer.instance)).at_cost(usd))
        context.market.record(offer, "a newer generation")
        findings.append(
            ledger.finding(
                "old_generation",
                usd=pool.usd - usd,
                title=f"{pool.machine.label} has a successor that is cheaper per token: {offer.instance}",
                confidence=lowest("medium", confidence),
                evidence=f"{pool.on_demand.sum():,.0f} hours{pool.serves} at {format_usd(pool.usd_per_hour)}; one "
                f"{offer.instance} at {format_usd(offer.usd_per_hour)} does the work of {speedup:.2g} ({basis}; "
                f"{title(offer.source)}, {offer.as_of})",
                fix="move to it with the next deployment; "
                + context.compare_advice(pool.machine, hardware=offer.hardware),
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), findings


def _best_successor(pool: BilledPool, context: AuditContext) -> tuple[Offer, float, Speedup] | None:
    """Return the cheapest successor, what the pool's hours cost on it, and its speedup; None if none is cheaper."""
    market = context.market
    known = market.hardware_of(pool.machine)
    if known is None:
        return None
    old, gpus = market.catalog.hardware[known[0]], known[1]
    successors = []
    for offer in market.catalog.machines:
        new = market.catalog.hardware[offer.hardware]
        holds_as_much = offer.gpus * new.memory_bytes >= gpus * old.memory_bytes
        if not (_in_same_region(offer, pool) and _dominates(new, old) and holds_as_much):
            continue
        per_gpu, confidence, basis = gpu_speedup(old, new, context.model)
        speedup = per_gpu * offer.gpus / gpus
        usd = float(np.ceil(pool.on_demand / speedup - 1e-9).sum()) * offer.usd_per_hour
        successors.append((offer, usd, (speedup, confidence, basis)))
    best = min(successors, key=lambda successor: successor[1], default=None)
    return best if best and best[1] < pool.usd * (1 - _MIN_SUCCESSOR_SAVING) else None


def _in_same_region(offer: Offer, pool: BilledPool) -> bool:
    return (
        offer.pricing_model is PricingModel.ON_DEMAND
        and (offer.provider, offer.region) == (pool.machine.provider, pool.machine.region)
        and not pool.machine.instance.startswith("ml.")
    )


def _dominates(new: Hardware, old: Hardware) -> bool:
    """Return whether a GPU has at least the other's memory, bandwidth and compute, and more of any."""
    stronger = (new.memory_bytes, new.memory_bandwidth_bytes_per_s, new.bf16_flops)
    weaker = (old.memory_bytes, old.memory_bandwidth_bytes_per_s, old.bf16_flops)
    return stronger != weaker and all(a >= b for a, b in zip(stronger, weaker, strict=True))


def gpu_speedup(old: Hardware, new: Hardware, model: str = "") -> Speedup:
    """Return how many times faster a GPU generates tokens than another: the minimum over models measured on both.

    Without a model measured on both, the smaller of the ratios of peak memory bandwidth and peak bf16 rate.

    Args:
        old: The slower GPU.
        new: The faster GPU.
        model: `Model.id` of the model served; "", or a model that was not measured, selects all.
    """
    model = model if any(profile.model == model for profile in shipped_profiles()) else ""
    before, after = _tokens_per_s_by_model(old.id, model), _tokens_per_s_by_model(new.id, model)
    both = {name: after[name] / before[name] for name in before.keys() & after.keys()}
    if both:
        name, smallest = min(both.items(), key=lambda item: item[1])
        basis = name if len(both) == 1 else f"the minimum of {len(both)} models, {name}"
        return smallest, "medium", f"measured step times, full batches, {basis}"
    bandwidth = new.memory_bandwidth_bytes_per_s / old.memory_bandwidth_bytes_per_s
    return min(bandwidth, new.bf16_flops / old.bf16_flops), "low", "data sheets; no model was measured on both"


@cache
def _tokens_per_s_by_model(hardware: str, model: str) -> Mapping[str, float]:
    """Return generated tokens a second of one GPU by model, on the fastest replica measured."""
    fastest: dict[str, float] = {}
    for profile in shipped_profiles():
        if profile.hardware == hardware and profile.engine == "vllm" and model in {"", profile.model}:
            key = f"{profile.model} {profile.precision}"
            fastest[key] = max(fastest.get(key, 0.0), _tokens_per_s(profile) / profile.gpus)
    return fastest


def _tokens_per_s(profile: Profile) -> float:
    """Return generated tokens a second of a saturated replica, prompts included.

    time per token = decode step / sequences + prompt tokens * prefill time per token
    """
    limits = profile.limits or EngineLimits()  # the same on all hardware, so that only the hardware differs
    sequences = max(1, min(limits.max_num_seqs, profile.kv_capacity_tokens // (_CONTEXT_TOKENS + profile.state_tokens)))
    context = float(sequences * _CONTEXT_TOKENS)
    prompt = float(limits.max_num_batched_tokens)
    decode_s = float(profile.step_time_s(0.0, float(sequences), context)) / sequences
    prefill_s = float(profile.step_time_s(prompt, 0.0, 0.0)) / prompt
    return 1 / (decode_s + _PROMPT_PER_OUTPUT * prefill_s)
