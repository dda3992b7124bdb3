"""Small fleets and requests drawn at random, with limits so tight that every rule of the scheduler is met."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from meritorder.domain import Provenance
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.sim.run import Autoscaled, Fixed, ForDeadlines, Pool, Requests, Scaling, Scheduled


@dataclass(frozen=True)
class Case:
    """The arguments of one simulation."""

    requests: Requests
    pools: tuple[Pool, ...]
    options: dict[str, object]


def profile(
    *,
    kv_capacity_tokens: int,
    decode_base_s: list[float],
    decode_per_kv_token_s: list[float],
    mixed_base_s: list[float],
    prefill_per_pair_s: float,
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
    )


def _step_times(rng: np.random.Generator, points: int, scale_s: float) -> list[float]:
    return list(np.sort(scale_s * rng.uniform(0.5, 2.0, points)))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw what has few values by hypothesis, and times from a seed: then two of them are never equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    longest = draw(st.sampled_from([4, 12, 40]))
    count = draw(st.integers(1, 40))
    input_tokens = rng.integers(1, longest + 1, count).astype(np.int32)
    output_tokens = rng.integers(1, longest + 1, count).astype(np.int32)
    cached_tokens = (rng.random(count) * input_tokens * draw(st.sampled_from([0.0, 1.0]))).astype(np.int32)
    mean_gap_s = draw(st.sampled_from([0.01, 0.1, 0.5, 3.0]))
    arrived_s = np.cumsum(rng.exponential(mean_gap_s, count))
    share = draw(st.sampled_from([0.0, 0.5, 0.9]))
    patience_s = draw(st.sampled_from([1.0, 10.0, 200.0]))
    latest_start_s = np.where(rng.random(count) < share, arrived_s + rng.exponential(patience_s, count), np.inf)
    requests = Requests(
        arrived_s=arrived_s,
        input_tokens=input_tokens,
        cached_tokens=cached_tokens,
        output_tokens=output_tokens,
        latest_start_s=latest_start_s,
        work_s=rng.uniform(0.1, 3.0, count),
    )
    tick_s = float(rng.uniform(0.3, 3.0))
    most_tokens = int(np.max(input_tokens + output_tokens))
    pools = [_pool(draw, rng, most_tokens, realtime=True)]
    for _ in range(draw(st.integers(0, 2))):
        pools.insert(draw(st.integers(0, len(pools))), _pool(draw, rng, most_tokens, realtime=draw(st.booleans())))
    options = {
        "horizon_s": float(arrived_s[-1] * rng.uniform(0.5, 2.0)),
        "tick_s": tick_s,
        "bin_s": float(rng.uniform(0.2, 1.0) * max(arrived_s[-1], 1.0)),
        "preempt": draw(st.booleans()),
    }
    return Case(requests, tuple(pools), options)


def _pool(draw: st.DrawFn, rng: np.random.Generator, most_tokens: int, *, realtime: bool) -> Pool:
    max_num_seqs = draw(st.integers(1, 8))
    block_tokens = draw(st.sampled_from([1, 2, 3, 4, 16]))
    blocks = -(-most_tokens // block_tokens) + draw(st.sampled_from([0, 1, 5, 100]))
    per_kv_s = 0.003 * rng.random() * draw(st.sampled_from([0.0, 1e-12, 1.0]))
    return Pool(
        profile=profile(
            kv_capacity_tokens=blocks * block_tokens + int(rng.integers(block_tokens)),
            decode_base_s=_step_times(rng, 8, 0.03),
            decode_per_kv_token_s=[per_kv_s * factor for factor in _step_times(rng, 8, 1.0)],
            mixed_base_s=_step_times(rng, 12, 0.05),
            prefill_per_pair_s=0.001 * rng.random() * draw(st.sampled_from([0.0, 1.0])),
        ),
        scaling=_scaling(draw, rng, realtime=realtime),
        limits=EngineLimits(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_seqs + draw(st.sampled_from([1, 2, 5, 40])),
            block_tokens=block_tokens,
        ),
        replicas_per_instance=draw(st.integers(1, 2)),
        realtime=realtime,
        backfill_seats=draw(st.integers(0 if realtime else 1, 8)),
        backfill_tokens=draw(st.sampled_from([1, 3, 1 << 30])),
        startup_s=draw(st.sampled_from([0.0, float(rng.uniform(0.1, 5.0))])),
        startup_paid_s=float(rng.uniform(0.0, 4.0)),
        minimum_billing_s=draw(st.sampled_from([0.0, float(rng.uniform(0.1, 20.0))])),
    )


def _scaling(draw: st.DrawFn, rng: np.random.Generator, *, realtime: bool) -> Scaling:
    most = draw(st.integers(1, 3))
    match draw(st.sampled_from(["fixed", "scheduled", "autoscaled", "for deadlines"])):
        case "scheduled":
            slots = draw(st.lists(st.integers(0, most), min_size=1, max_size=6))
            slots[0] = max(slots[0], 1) if not realtime or max(slots) == 0 else slots[0]
            return Scheduled(instances=tuple(slots), slot_s=float(rng.uniform(0.5, 5.0)))
        case "autoscaled":
            minimum = draw(st.integers(0, most))
            return Autoscaled(
                target_in_flight=float(rng.uniform(0.5, 6.0)),
                minimum=minimum,
                maximum=most,
                initial=draw(st.integers(0, most)),
                stabilization_s=float(rng.uniform(0.1, 10.0)),
            )
        case "for deadlines":
            return ForDeadlines(maximum=most, margin_s=float(rng.uniform(0.0, 5.0)))
        case _:
            return Fixed(instances=most)
