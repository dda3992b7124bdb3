"""Small fleets and requests drawn at random, with limits so tight that every rule of the scheduler is met."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from meritorder.domain import BackfillLimits, Provenance
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.sim.pools import (
    Autoscaled,
    DeadlineScaled,
    Fixed,
    Interruptions,
    Requests,
    Scaling,
    Scheduled,
    SimPool,
)


@dataclass(frozen=True)
class Case:
    """The arguments of one simulation."""

    requests: Requests
    pools: tuple[SimPool, ...]
    options: dict[str, object]


def profile(
    *,
    kv_capacity_tokens: int,
    decode_base_s: list[float],
    decode_per_kv_token_s: list[float],
    mixed_base_s: list[float],
    prefill_per_pair_s: float,
    state_tokens: int = 0,
) -> Profile:
    """Return a profile whose columns have as many grid points, one apart, as values are given."""
    return Profile(
        model="drawn",
        hardware="drawn",
        gpus=1,
        engine="vllm",
        precision="bf16",
        provenance=Provenance.SILICON,
        source="drawn",
        as_of="2026-01-01",
        kv_capacity_tokens=kv_capacity_tokens,
        decode_sequences=list(range(1, len(decode_base_s) + 1)),
        decode_base_s=decode_base_s,
        decode_per_kv_token_s=decode_per_kv_token_s,
        step_tokens=list(range(1, len(mixed_base_s) + 1)),
        mixed_base_s=mixed_base_s,
        prefill_per_pair_s=prefill_per_pair_s,
        state_tokens=state_tokens,
    )


class Times:
    """Times drawn from a seed, so that two are never equal; or on a grid of 1/64 s, so that very many are.

    Sums and products on the grid are exact in floating point, and so ties are ties in any simulator.
    """

    def __init__(self, seed: int, *, ties: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.ties = ties

    def grid(self, times_s: np.ndarray) -> np.ndarray:
        return np.floor(times_s * 64) / 64 if self.ties else times_s

    def uniform(self, low_s: float, high_s: float) -> float:
        drawn_s = self.rng.uniform(low_s, high_s)
        return float(np.ceil(drawn_s * 64) / 64) if self.ties else float(drawn_s)

    def steps(self, points: int, scale_s: float) -> list[float]:
        return sorted(self.uniform(0.5 * scale_s, 2.0 * scale_s) for _ in range(points))


@st.composite
def cases(draw: st.DrawFn, *, ties: bool = False, interrupted: bool = False) -> Case:
    """Draw what has few values by hypothesis, and times from a seed; all pools are interrupted, or some."""
    times = Times(draw(st.integers(0, 2**32 - 1)), ties=ties)
    requests = _requests(draw, times)
    span_s = float(requests.arrived_s[-1])
    most_tokens = int(np.max(requests.input_tokens + requests.output_tokens))
    pools = [_pool(draw, times, most_tokens, realtime=True, interrupted=interrupted)]
    for _ in range(draw(st.integers(0, 2))):
        another = _pool(draw, times, most_tokens, realtime=draw(st.booleans()), interrupted=interrupted)
        pools.insert(draw(st.integers(0, len(pools))), another)
    if requests.access is not None:
        pools = _permitting(draw, pools, accesses=int(requests.access.max()) + 1)
    if draw(st.booleans()):
        pools = _sharing_load(pools)
    options = {
        "horizon_s": times.uniform(0.5, 2.0) * span_s,
        "tick_s": times.uniform(0.3, 3.0),
        "bin_s": times.uniform(0.2, 1.0) * max(span_s, 1.0),
    }
    return Case(requests, tuple(pools), options)


def _sharing_load(pools: list[SimPool]) -> list[SimPool]:
    """Let the first autoscaled pool count the load of all pools that are not autoscaled."""
    first = next((number for number, pool in enumerate(pools) if isinstance(pool.scaling, Autoscaled)), None)
    if first is None:
        return pools
    beside = tuple(number for number, pool in enumerate(pools) if not isinstance(pool.scaling, Autoscaled))
    scaling = replace(pools[first].scaling, beside=beside)
    return [*pools[:first], replace(pools[first], scaling=scaling), *pools[first + 1 :]]


def _permitting(draw: st.DrawFn, pools: list[SimPool], *, accesses: int) -> list[SimPool]:
    """Draw who may run where; whom no pool would take in real time, the first that takes any takes."""
    drawn = [draw(st.frozensets(st.integers(0, accesses - 1))) for _ in pools]
    first = next(place for place, pool in enumerate(pools) if pool.realtime)
    taken = frozenset[int]().union(*(each for each, pool in zip(drawn, pools, strict=True) if pool.realtime))
    drawn[first] |= frozenset(range(accesses)) - taken
    return [replace(pool, permits=each) for pool, each in zip(pools, drawn, strict=True)]


def _requests(draw: st.DrawFn, times: Times) -> Requests:
    longest = draw(st.sampled_from([4, 12, 40]))
    count = draw(st.sampled_from([40, 20, 8, 3, 1]))
    rng = times.rng
    input_tokens = rng.integers(1, longest + 1, count).astype(np.int32)
    cached_share = rng.random(count) * draw(st.sampled_from([0.0, 1.0]))
    arrived_s = np.cumsum(rng.exponential(draw(st.sampled_from([0.01, 0.03, 0.1, 0.5, 3.0])), count))
    arrived_s = times.grid(arrived_s - arrived_s[0] if times.ties else arrived_s)
    deferrable = rng.random(count) < draw(st.sampled_from([0.0, 0.5, 0.9]))
    accesses = draw(st.sampled_from([None, 2, 3]))
    patience_s = rng.exponential(draw(st.sampled_from([1.0, 10.0, 200.0])), count)
    return Requests(
        arrived_s=arrived_s,
        input_tokens=input_tokens,
        cached_tokens=(cached_share * input_tokens).astype(np.int32),
        output_tokens=rng.integers(1, longest + 1, count).astype(np.int32),
        latest_start_s=np.where(deferrable, times.grid(arrived_s + patience_s), np.inf),
        work_s=times.grid(rng.uniform(0.1, 3.0, count)),
        access=None if accesses is None else rng.integers(0, accesses, count).astype(np.int32),
    )


def _pool(draw: st.DrawFn, times: Times, most_tokens: int, *, realtime: bool, interrupted: bool) -> SimPool:
    max_num_seqs = draw(st.integers(1, 8))
    block_tokens = draw(st.sampled_from([1, 2, 3, 4, 16]))
    blocks = -(-most_tokens // block_tokens) + draw(st.sampled_from([0, 1, 5, 20, 100]))
    state_tokens = draw(st.sampled_from([0, 0, 1, 7]))
    growth = draw(st.sampled_from([0.0, 1 / 512] if times.ties else [0.0, 1e-15, 1 / 512]))
    scaling = _scaling(draw, times, realtime=realtime)
    return SimPool(
        profile=profile(
            kv_capacity_tokens=(blocks + -(-state_tokens // block_tokens)) * block_tokens
            + int(times.rng.integers(block_tokens)),
            state_tokens=state_tokens,
            decode_base_s=times.steps(8, 0.03),
            decode_per_kv_token_s=[growth * factor for factor in times.steps(8, 1.0)],
            mixed_base_s=times.steps(12, 0.05),
            prefill_per_pair_s=draw(st.sampled_from([0.0, 1 / 1024])) * times.uniform(0.1, 1.0),
        ),
        scaling=scaling,
        limits=EngineLimits(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_seqs + draw(st.sampled_from([1, 2, 5, 40])),
            block_tokens=block_tokens,
            prefill_first=draw(st.booleans()),
            whole_prompts=draw(st.booleans()),
            reserve_outputs=draw(st.booleans()),
        ),
        replicas_per_instance=draw(st.integers(1, 2)),
        realtime=realtime,
        backfill=BackfillLimits(
            sequences=draw(st.integers(0 if realtime else 1, 8)),
            prefill_tokens=draw(st.sampled_from([1, 3, 1 << 30])),
            kv_share=draw(st.sampled_from([1.0, 0.9, 0.5])),
        ),
        backfill_shares=_shares(draw, scaling),
        startup_s=draw(st.sampled_from([0.0, times.uniform(0.1, 5.0)])),
        startup_paid_s=times.uniform(0.0, 4.0),
        minimum_billing_s=draw(st.sampled_from([0.0, times.uniform(0.1, 20.0)])),
        interruptions=_interruptions(draw, times) if interrupted or draw(st.booleans()) else None,
    )


def _shares(draw: st.DrawFn, scaling: Scaling) -> tuple[float, ...]:
    """Draw the share of the backfill limits in each slot of a schedule, or none."""
    match scaling:
        case Scheduled(instances=slots) | Autoscaled(floor=slots) if draw(st.booleans()):
            return tuple(draw(st.sampled_from([1.0, 0.7, 0.3, 0.1])) for _ in slots)
        case _:
            return ()


def _interruptions(draw: st.DrawFn, times: Times) -> Interruptions:
    """Draw instances that end and a provider that leaves few, but in the end enough for all to be served."""
    longest_s = draw(st.sampled_from([1.0, 3.0, 12.0]))
    lifetimes_s = [times.uniform(0.1, longest_s) for _ in range(draw(st.sampled_from([12, 6, 3, 0])))]
    changes = draw(st.lists(st.integers(0, 3), max_size=5))
    return Interruptions(
        lifetimes_s=(*lifetimes_s, 1e6) if lifetimes_s else (),
        notice_s=draw(st.sampled_from([0.0, times.uniform(0.1, longest_s)])),
        ceiling_from_s=tuple(np.cumsum([times.uniform(0.1, longest_s) for _ in [*changes, 3]]).tolist())
        if changes
        else (),
        ceiling=(*changes, 3) if changes else (),
    )


def _scaling(draw: st.DrawFn, times: Times, *, realtime: bool) -> Scaling:
    most = draw(st.integers(1, 3))
    match draw(st.sampled_from(["fixed", "scheduled", "autoscaled", "for deadlines"])):
        case "scheduled":
            slots = draw(st.lists(st.integers(0, most), min_size=1, max_size=6))
            slots[0] = slots[0] if realtime and max(slots) > 0 else max(slots[0], 1)
            ahead_s = draw(st.sampled_from([0.0, 1.0, 7.0]))
            return Scheduled(instances=tuple(slots), slot_s=times.uniform(0.5, 5.0), ahead_s=ahead_s)
        case "autoscaled":
            return Autoscaled(
                target_in_flight=times.uniform(0.5, 6.0),
                minimum=draw(st.integers(0, most)),
                maximum=most,
                initial=draw(st.integers(0, most)),
                stabilization_s=times.uniform(0.1, 10.0),
                floor=tuple(draw(st.lists(st.integers(0, most + 1), max_size=6))),
                slot_s=times.uniform(0.5, 5.0),
                ahead_s=draw(st.sampled_from([0.0, 1.0, 7.0])),
            )
        case "for deadlines":
            return DeadlineScaled(maximum=most, margin_s=times.uniform(0.0, 5.0))
        case _:
            return Fixed(instances=most)
