"""The load generator of the validation: its small engine and the simulator tell the same times."""

import numpy as np
import pytest
from bench.validate.sample.closed_loop import closed_loop
from tests.samples.fleets import profile

from meritorder.perf.profile import EngineLimits
from meritorder.sim.pools import Fixed, Requests, SimPool
from meritorder.sim.run import simulate


@pytest.mark.parametrize("prefill_first", [False, True])
@pytest.mark.parametrize("whole_prompts", [False, True])
@pytest.mark.parametrize(("clients", "step_tokens"), [(1, 1024), (7, 256), (32, 1024)])
def test_closed_loop_equals_simulator(prefill_first: bool, whole_prompts: bool, clients: int, step_tokens: int) -> None:  # noqa: FBT001
    drawn = np.random.default_rng(clients)
    inputs, outputs = drawn.integers(100, 600, 10 * clients), drawn.integers(2, 80, 10 * clients)
    limits = EngineLimits(
        max_num_seqs=clients,
        max_num_batched_tokens=step_tokens,
        prefill_first=prefill_first,
        whole_prompts=whole_prompts,
    )
    loop = closed_loop(profile(), limits, clients, inputs, outputs)
    count = len(inputs)
    requests = Requests(
        arrived_s=loop.arrived_s,
        input_tokens=inputs.astype(np.int32),
        cached_tokens=np.zeros(count, np.int32),
        output_tokens=outputs.astype(np.int32),
        latest_start_s=np.full(count, np.inf),
        work_s=np.zeros(count),
    )
    result = simulate(requests, (SimPool(profile=profile(), scaling=Fixed(instances=1), limits=limits),), horizon_s=0.0)
    np.testing.assert_allclose(result.first_token_s, loop.first_token_s, rtol=1e-9)
    np.testing.assert_allclose(result.finished_s, loop.finished_s, rtol=1e-9)


def test_in_flight_never_exceeds_clients() -> None:
    inputs, outputs = np.full(60, 300), np.arange(60) % 17 + 2
    loop = closed_loop(profile(), EngineLimits(max_num_seqs=6, max_num_batched_tokens=1024), 6, inputs, outputs)
    in_flight = (loop.arrived_s[:, None] >= loop.arrived_s) & (loop.arrived_s[:, None] < loop.finished_s)
    assert in_flight.sum(axis=1).max() == 6
    assert (loop.arrived_s[:6] == 0).all()
    assert np.isfinite(loop.finished_s).all()
