"""No replica that a study may choose is faster than its hardware, whatever corrected, scaled or estimated its speed."""

import contextlib

import numpy as np
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from meritorder import catalog
from meritorder.domain import Hardware, Model, Replica
from meritorder.errors import PerformanceError
from meritorder.perf.limits import limits_of
from meritorder.perf.profile import Profile
from meritorder.perf.roofline import roofline
from meritorder.perf.shipped import shipped_profiles
from meritorder.perf.siblings import SIBLINGS
from meritorder.sim.pools import Requests
from meritorder.sim.saturation import saturate, unloaded_latency
from meritorder.study.fleet.machines import measured_profiles

CATALOG = catalog.load(())
# Of the active parameters, embeddings are looked up, and the output layer multiplies last tokens only.
MULTIPLIED = 0.85
# Bandwidths that the tables reach on small models; the rest is rounding of parameters.
READ = 0.93


def peak_flops(hardware: Hardware, precision: str) -> float:
    fp8_flops = hardware.fp8_flops or hardware.bf16_flops
    return {"bf16": hardware.bf16_flops, "fp8": fp8_flops}.get(precision, 2 * fp8_flops)


SHIPPED = sorted({(p.model, p.hardware, p.engine, p.precision) for p in shipped_profiles()})
SCALED = [(model, gpu, *rest) for gpu, chip in SIBLINGS.items() for model, of, *rest in SHIPPED if of == chip]
ESTIMATED = [(model, gpu) for model in sorted(CATALOG.models) for gpu in sorted(CATALOG.hardware)]


def of_tables(key: tuple[str, str, str, str]) -> list[Profile]:
    """Return the profiles that a study finds in the tables, corrected or scaled."""
    model, hardware, engine, precision = key
    try:
        return measured_profiles(
            CATALOG,
            CATALOG.models[model],
            CATALOG.hardware[hardware],
            engine=engine,
            precision=precision,
            gpus=None,
        )
    except PerformanceError:
        return []


def of_data_sheets(key: tuple[str, str]) -> list[Profile]:
    """Return the estimates for one and for eight GPUs, where the weights fit."""
    model, gpu = CATALOG.models[key[0]], CATALOG.hardware[key[1]]
    found = []
    for gpus in (1, 8):
        replica = Replica(model=model.id, hardware=gpu.id, gpus=gpus, engine="vllm", precision=model.precision)
        with contextlib.suppress(PerformanceError):
            found.append(roofline(model, gpu, replica, as_of=""))
    return found


CANDIDATES = st.one_of(
    st.sampled_from(SHIPPED).map(of_tables),
    st.sampled_from(SCALED).map(of_tables),
    st.sampled_from(ESTIMATED).map(of_data_sheets),
)


def alike(count: int, input_tokens: int, output_tokens: int) -> Requests:
    return Requests(
        arrived_s=np.zeros(count),
        input_tokens=np.full(count, input_tokens, np.int32),
        cached_tokens=np.zeros(count, np.int32),
        output_tokens=np.full(count, output_tokens, np.int32),
        latest_start_s=np.full(count, np.inf),
        work_s=np.zeros(count),
    )


def least_tpot_s(profile: Profile, model: Model, hardware: Hardware) -> float:
    """Return the time to read the weights that are active for a token, from the memory of all GPUs."""
    read_bytes = (model.weights_bytes(profile.precision) or 0) * model.active_parameters / model.parameters
    return float(read_bytes / (profile.gpus * hardware.memory_bandwidth_bytes_per_s))


@settings(max_examples=15, deadline=None)
@given(
    found=CANDIDATES,
    which=st.integers(0, 7),
    lengths=st.tuples(st.sampled_from([1, 200, 4000, 20_000]), st.sampled_from([1, 40, 600])),
)
# A correction that was fitted to few prompts, and an estimate whose decodes are bound by operations.
@example(found=of_tables(("llama-3.1-8b", "h200", "sglang", "fp8")), which=0, lengths=(4000, 1))
@example(found=of_data_sheets(("llama-3.1-8b", "l4")), which=0, lengths=(1, 600))
def test_no_replica_beats_its_hardware(found: list[Profile], which: int, lengths: tuple[int, int]) -> None:
    assume(found)
    profile = found[which % len(found)]
    assume(profile.kv_capacity_tokens > 2 * (sum(lengths) + profile.state_tokens))
    served, gpu = CATALOG.models[profile.model], CATALOG.hardware[profile.hardware]
    limits = limits_of(profile)
    requests = alike(400, *lengths)
    operations = MULTIPLIED * 2 * served.active_parameters
    peak = peak_flops(gpu, profile.precision) * profile.gpus
    # The first token of an output comes from its prompt.
    fed_tokens = (sum(lengths) - 1) / sum(lengths)
    assert saturate(requests, profile, limits).tokens_per_s * fed_tokens <= peak / operations * 1.001
    _, tpot_s = unloaded_latency(requests, profile, limits)
    assert float(tpot_s.min()) >= READ * least_tpot_s(profile, served, gpu)
