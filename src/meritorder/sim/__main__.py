"""Compile the simulator ahead of its first use, once per machine: `python -m meritorder.sim`."""

import numpy as np

from meritorder.domain import Provenance
from meritorder.perf.profile import Profile
from meritorder.sim.pools import Fixed, Requests, SimPool
from meritorder.sim.run import simulate


def main() -> None:
    """Simulate one request, which compiles every kernel."""
    profile = Profile(
        model="none",
        hardware="none",
        gpus=1,
        engine="vllm",
        precision="bf16",
        provenance=Provenance.ROOFLINE,
        source="a request that compiles the kernels",
        as_of="2026-11-29",
        kv_capacity_tokens=1024,
        decode_sequences=[1],
        decode_base_s=[0.01],
        decode_per_kv_token_s=[0.0],
        step_tokens=[1],
        mixed_base_s=[0.01],
        prefill_per_pair_s=0.0,
    )
    one, time_s = np.ones(1, np.int32), np.zeros(1)
    requests = Requests(
        arrived_s=time_s,
        input_tokens=one,
        cached_tokens=np.zeros(1, np.int32),
        output_tokens=one,
        latest_start_s=np.full(1, np.inf),
        work_s=time_s,
    )
    simulate(requests, (SimPool(profile=profile, scaling=Fixed(instances=1)),), horizon_s=0.0)


if __name__ == "__main__":
    main()
