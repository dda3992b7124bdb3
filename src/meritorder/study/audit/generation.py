"""Machines of an older generation, where a newer one makes the same tokens for less."""

from dataclasses import replace
from typing import Final

import numpy as np

from meritorder.domain import Hardware, Offer, PricingModel
from meritorder.findings import Confidence
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.perf.shipped import profiles
from meritorder.study.audit.context import Context
from meritorder.study.audit.ledger import Ledger, Step
from meritorder.study.audit.market import least, title
from meritorder.study.audit.pools import Pool
from meritorder.units import format_usd

_WORTH_A_MOVE: Final = 0.05
_PROMPT_PER_OUTPUT: Final = 4.0
"""Prompt tokens for each generated one. Assumed, for the comparison of hardware."""

_CONTEXT_TOKENS: Final = 2000
"""Tokens of context of a request. Assumed, for the comparison of hardware."""

Speedup = tuple[float, Confidence, str]
"""How many times faster one GPU is than another, how sure that is, and by what."""


def old_generation(ledger: Ledger, context: Context) -> Step:
    """Find on-demand machines whose work a successor in the same region does for less, whole machines in each hour."""
    pools, found = [], []
    for pool in ledger.pools:
        best = None if pool.on_spot or not pool.usd else _best(pool, context)
        if best is None:
            pools.append(pool)
            continue
        offer, usd, (times, confidence, basis) = best
        pools.append(replace(pool, machine=replace(pool.machine, instance=offer.instance)).at(usd))
        context.market.take(offer, "a newer generation")
        found.append(
            ledger.finding(
                "old_generation",
                usd=pool.usd - usd,
                title=f"{pool.machine.label} has a successor that is cheaper per token: {offer.instance}",
                confidence=least("medium", confidence),
                evidence=f"{pool.on_demand.sum():,.0f} hours{pool.serves} at {format_usd(pool.usd_per_hour)}; one "
                f"{offer.instance} at {format_usd(offer.usd_per_hour)} does the work of {times:.2g} ({basis}; "
                f"{title(offer.source)}, {offer.as_of})",
                fix=context.compare(pool.machine, hardware=offer.hardware),
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), found


def _best(pool: Pool, context: Context) -> tuple[Offer, float, Speedup] | None:
    """Return the successor that costs least, what the hours cost on it, and how much faster it is."""
    market = context.market
    known = market.hardware_of(pool.machine)
    if known is None:
        return None
    old, gpus = market.catalog.hardware[known[0]], known[1]
    found = []
    for offer in market.catalog.offers:
        new = market.catalog.hardware[offer.hardware]
        holds_as_much = offer.gpus * new.memory_bytes >= gpus * old.memory_bytes
        if not (_sold_there(offer, pool) and _succeeds(new, old) and holds_as_much):
            continue
        per_gpu, confidence, basis = speedup(old, new, context.model)
        times = per_gpu * offer.gpus / gpus
        usd = float(np.ceil(pool.on_demand / times - 1e-9).sum()) * offer.usd_per_hour
        found.append((offer, usd, (times, confidence, basis)))
    best = min(found, key=lambda each: each[1], default=None)
    return best if best and best[1] < pool.usd * (1 - _WORTH_A_MOVE) else None


def _sold_there(offer: Offer, pool: Pool) -> bool:
    return (
        offer.pricing_model is PricingModel.ON_DEMAND
        and (offer.provider, offer.region) == (pool.machine.provider, pool.machine.region)
        and not pool.machine.instance.startswith("ml.")
    )


def _succeeds(new: Hardware, old: Hardware) -> bool:
    """Return whether a GPU is at least the other in everything, and more in something."""
    mine = (new.memory_bytes, new.memory_bandwidth_bytes_per_s, new.bf16_flops)
    other = (old.memory_bytes, old.memory_bandwidth_bytes_per_s, old.bf16_flops)
    return mine != other and all(a >= b for a, b in zip(mine, other, strict=True))


def speedup(old: Hardware, new: Hardware, model: str = "") -> Speedup:
    """Return how many times faster a GPU makes tokens than another: the least over the models measured on both.

    Where nothing was measured on both, the smaller of the ratios of peak memory bandwidth and peak bf16 rate.

    Args:
        old: A GPU.
        new: Another.
        model: `Model.id` of what is served; "", or one that was not measured, takes all.
    """
    model = model if any(profile.model == model for profile in profiles()) else ""
    before, after = _rates(old.id, model), _rates(new.id, model)
    both = {name: after[name] / before[name] for name in before.keys() & after.keys()}
    if both:
        name, least_times = min(both.items(), key=lambda item: item[1])
        of = name if len(both) == 1 else f"the least of {len(both)} models, {name}"
        return least_times, "medium", f"measured step times, full batches, {of}"
    bandwidth = new.memory_bandwidth_bytes_per_s / old.memory_bandwidth_bytes_per_s
    return min(bandwidth, new.bf16_flops / old.bf16_flops), "low", "data sheets; nothing was measured on both"


def _rates(hardware: str, model: str) -> dict[str, float]:
    """Return generated tokens a second of one GPU by model, on the best replica that was measured."""
    found: dict[str, float] = {}
    for profile in profiles():
        if profile.hardware == hardware and profile.engine == "vllm" and model in {"", profile.model}:
            key = f"{profile.model} {profile.precision}"
            found[key] = max(found.get(key, 0.0), _tokens_per_s(profile) / profile.gpus)
    return found


def _tokens_per_s(profile: Profile) -> float:
    """Return generated tokens a second of a full replica, each with its share of prompt.

    time per token = decode step / sequences + prompt tokens * prefill time per token
    """
    limits = profile.limits or EngineLimits.of(profile.engine)
    sequences = max(1, min(limits.max_num_seqs, profile.kv_capacity_tokens // _CONTEXT_TOKENS))
    context = float(sequences * _CONTEXT_TOKENS)
    prompt = float(limits.max_num_batched_tokens)
    decode_s = float(profile.step_time_s(0.0, float(sequences), context)) / sequences
    prefill_s = float(profile.step_time_s(prompt, 0.0, 0.0)) / prompt
    return 1 / (decode_s + _PROMPT_PER_OUTPUT * prefill_s)
