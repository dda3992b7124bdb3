"""A fleet whose every step takes 0.1 s, so that timings can be worked out by hand, held against the oracle."""

import numpy as np
from tests.oracle.stepwise import simulate_stepwise
from tests.property.fleets import profile

from meritorder.perf.profile import EngineLimits
from meritorder.sim.pools import Requests, SimPool
from meritorder.sim.run import simulate

STEADY = profile(
    kv_capacity_tokens=1000,
    decode_base_s=[0.1, 0.1],
    decode_per_kv_token_s=[0.0, 0.0],
    mixed_base_s=[0.1, 0.1],
    prefill_per_pair_s=0.0,
)


def requests(*rows: tuple[float, int, int, float]) -> Requests:
    """Rows of arrival, input tokens, output tokens and latest start."""
    arrived_s, input_tokens, output_tokens, latest_start_s = (np.array(column) for column in zip(*rows, strict=True))
    return Requests(
        arrived_s=arrived_s.astype(float),
        input_tokens=input_tokens.astype(np.int32),
        cached_tokens=np.zeros(len(rows), np.int32),
        output_tokens=output_tokens.astype(np.int32),
        latest_start_s=latest_start_s.astype(float),
        work_s=np.full(len(rows), 1.0),
    )


def finished(wanted: Requests, *pools: SimPool, **options: object) -> np.ndarray:
    """Return when each request finished, the same in both simulators."""
    options = {"horizon_s": 10.0, "tick_s": 1.0, **options}
    found = simulate(wanted, pools, **options)
    fleet, _ = simulate_stepwise(wanted, pools, **options)
    np.testing.assert_allclose(found.finished_s, [r.finished_s for r in fleet.requests], rtol=1e-9)
    assert np.isfinite(found.finished_s).all()
    return found.finished_s


def memory(blocks: int, **limits: int) -> dict[str, object]:
    """Return a profile with this many blocks of one token, and its limits."""
    steady = profile(
        kv_capacity_tokens=blocks,
        decode_base_s=STEADY.decode_base_s,
        decode_per_kv_token_s=STEADY.decode_per_kv_token_s,
        mixed_base_s=STEADY.mixed_base_s,
        prefill_per_pair_s=0.0,
    )
    return {"profile": steady, "limits": EngineLimits(block_tokens=1, max_num_seqs=4, **limits)}
