"""Hardware with the chip of other hardware: step times scaled by the data sheets, or those of a twin as they are."""

from typing import Final

import msgspec

from meritorder.domain import Hardware, Provenance
from meritorder.errors import PerformanceError
from meritorder.perf.memory import context_bytes
from meritorder.perf.profile import Profile

SIBLINGS: Final = {"h100-pcie": "h100", "h100-nvl": "h100", "a100-pcie": "a100", "a100-40gb": "a100"}
"""`Hardware.id` -> the measured hardware with its chip. They differ in memory, clocks, power and links between GPUs, so
that only replicas of one GPU follow."""
TWINS: Final = {"gb200": ("b200", "b300"), "gb300": ("b300", "b200"), "b300": ("b200",), "b200": ("b300",)}
"""`Hardware.id` -> hardware with the same chip, links, and nearly the same bandwidth, nearest first."""


def from_twin(profile: Profile, twin: Profile) -> Profile:
    """Return a profile with the step times of a twin, where those of the twin are corrected to measured servers.

    Servers are nearer to the corrected times of a twin than to their own tables (docs/validation.md, twins).
    """
    return msgspec.structs.replace(
        twin,
        hardware=profile.hardware,
        provenance=Provenance.INTERPOLATED,
        source=f"{twin.source}; speed of {twin.hardware}",
        kv_capacity_tokens=profile.kv_capacity_tokens,
        memory=profile.memory,
    )


def from_sibling(profile: Profile, measured: Hardware, hardware: Hardware) -> Profile:
    """Return the profile of one GPU from that of a sibling.

        decode steps and what a step takes at least    times the ratio of memory bandwidths
        what prompt tokens and pairs add               times the ratio of sustained operations per second
        sustained operations = peak operations times the cube root of the power limit

    Prompts run at the power limit, and power grows with the cube of the clock.

    Args:
        profile: Profile of the sibling, corrected.
        measured: The sibling.
        hardware: The hardware.

    Raises:
        PerformanceError: The weights leave no memory for context, or the replica has several GPUs.

    Source: Williams et al., "Roofline", CACM 52(4), 2009. Of MLPerf Inference v3.0, BERT-99 offline on one GPU, H100
    PCIe reaches 0.63 of an H100 SXM (0.61 here), A100 PCIe 0.88 of an A100 SXM (0.91 here).
    """
    if profile.gpus != 1 or profile.memory is None:
        raise PerformanceError("no measured performance", where=hardware.id, fix="use one GPU per replica (--tp 1)")
    slower = measured.memory_bandwidth_bytes_per_s / hardware.memory_bandwidth_bytes_per_s
    weaker = _sustained_flops(measured) / _sustained_flops(hardware)
    floor_s = min(profile.mixed_base_s)
    memory = msgspec.structs.replace(profile.memory, gpu_bytes=hardware.memory_bytes)
    larger = context_bytes(profile.engine, memory) / context_bytes(profile.engine, profile.memory)
    tokens = int(profile.kv_capacity_tokens * larger)
    if tokens < 1:
        raise PerformanceError(
            "the weights leave no memory for context", where=hardware.id, fix="use hardware with more memory"
        )
    return msgspec.structs.replace(
        profile,
        hardware=hardware.id,
        provenance=Provenance.INTERPOLATED,
        source=f"{profile.source}; {measured.id} scaled by the data sheets",
        kv_capacity_tokens=tokens,
        memory=memory,
        decode_base_s=[step_s * slower for step_s in profile.decode_base_s],
        decode_per_kv_token_s=[step_s * slower for step_s in profile.decode_per_kv_token_s],
        mixed_base_s=[floor_s * slower + (step_s - floor_s) * weaker for step_s in profile.mixed_base_s],
        prefill_per_pair_s=profile.prefill_per_pair_s * weaker,
    )


def _sustained_flops(hardware: Hardware) -> float:
    """Return the operations per second under load, in units that only siblings share."""
    return float(hardware.bf16_flops * hardware.power_w ** (1 / 3))
