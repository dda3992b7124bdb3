"""The nouns of the project: frozen records that validate themselves.

Words are those of docs/reference/glossary.md. Requests in bulk are columns (`tables.py`), never these records.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, Self

from meritorder.errors import InfeasibleError, WorkloadsError

# mxfp4: 4 bits, and an 8-bit scale for each 32 of them. Source: OCP Microscaling Formats 1.0, 2023. nvfp4: an 8-bit
# scale for each 16. Source: NVIDIA, "Introducing NVFP4", 2025. int4: a 16-bit scale for each 32. Source: Kimi-K2.5
# config.json, 2026.
_BYTES_PER_PARAMETER: Final = {
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1.0,
    "mxfp4": 4.25 / 8,
    "nvfp4": 4.5 / 8,
    "int4": 4.5 / 8,
}

PRECISIONS: Final = tuple(_BYTES_PER_PARAMETER)


class Lane(StrEnum):
    """The promise made to a request."""

    REALTIME = "realtime"
    DEFERRABLE = "deferrable"


class PricingModel(StrEnum):
    """How capacity is paid for."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"
    RESERVED = "reserved"
    SAVINGS_PLAN = "savings_plan"
    COMMITTED_USE = "committed_use"
    CAPACITY_BLOCK = "capacity_block"
    SERVERLESS = "serverless"


class Tier(StrEnum):
    """The service tier of a token API."""

    STANDARD = "standard"
    BATCH = "batch"
    FLEX = "flex"
    PRIORITY = "priority"


class Provenance(StrEnum):
    """Where a performance figure comes from, most reliable first."""

    CALIBRATED = "calibrated"
    SILICON = "silicon"
    INTERPOLATED = "interpolated"
    ROOFLINE = "roofline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """A real-time promise: a share of requests that meets limits on both TTFT and TPOT.

    Args:
        ttft_s: Longest time to first token.
        tpot_s: Longest time per output token after the first.
        attainment: Share of requests that must meet both, in (0, 1].
    """

    ttft_s: float
    tpot_s: float
    attainment: float = 0.99

    def __post_init__(self) -> None:
        for name, value in (("ttft_s", self.ttft_s), ("tpot_s", self.tpot_s)):
            if not (math.isfinite(value) and value > 0):
                raise WorkloadsError(f"{name} must be a positive time, not {value}", where="slo")
        if not 0 < self.attainment <= 1:
            raise WorkloadsError(f"attainment must be in (0, 1], not {self.attainment}", where="slo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One kind of accelerator.

    Args:
        id: Our name for it, such as `h100`.
        name: The vendor's name.
        memory_bytes: Memory of one GPU.
        memory_bandwidth_bytes_per_s: Peak memory bandwidth of one GPU.
        bf16_flops: Peak dense bf16 operations per second of one GPU.
        fp8_flops: Peak dense fp8 operations per second, None if it supports none.
        power_w: Board power.
        source: Source of the facts.
        as_of: Date of the facts, ISO 8601.
        aliases: Other names that price lists use, lower case.
    """

    id: str
    name: str
    memory_bytes: int
    memory_bandwidth_bytes_per_s: float
    bf16_flops: float
    fp8_flops: float | None
    power_w: float
    source: str
    as_of: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One language model.

    Args:
        id: Our name for it, such as `llama-3.1-70b`.
        hf_id: Name of its weights on the Hugging Face hub.
        aliases: Other names that traces and providers use, lower case.
        parameters: Number of parameters.
        active_parameters: Parameters used for one token (fewer in a mixture of experts).
        kv_bytes_per_token: KV cache memory of one token at the cache's native precision.
        precision: Native precision of the weights: bf16, fp8, mxfp4, int4, nvfp4.
        context_tokens: Longest context.
        source: Source of the facts.
        as_of: Date of the facts, ISO 8601.
        named_precision: Precision of the weights that a name asks for, such as `llama-3.1-8b-fp8`; "" for the native.
    """

    id: str
    hf_id: str
    aliases: tuple[str, ...]
    parameters: float
    active_parameters: float
    kv_bytes_per_token: float
    precision: str
    context_tokens: int
    source: str
    as_of: str
    named_precision: str = ""

    @property
    def served_precision(self) -> str:
        """Precision of the weights, unless the user states one."""
        return self.named_precision or self.precision

    @property
    def is_mixture(self) -> bool:
        """Whether it is a mixture of experts."""
        return self.active_parameters < self.parameters

    def weights_bytes(self, precision: str) -> float | None:
        """Return the least memory that the weights take, None for an unknown precision."""
        parameter_bytes = _BYTES_PER_PARAMETER.get(precision)
        return self.parameters * parameter_bytes if parameter_bytes else None


class Attention(StrEnum):
    """How attention is split over the GPUs of a replica: tensor parallel, data parallel, or either."""

    ANY = "any"
    TENSOR = "tp"
    DATA = "dp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One copy of a model on n GPUs, under one engine.

    Args:
        model: `Model.id`.
        hardware: `Hardware.id`.
        gpus: GPUs that it uses.
        engine: "vllm", "sglang" or "trtllm".
        precision: Precision of the weights as served.
        attention_ranks: Ranks that compute attention each for sequences of their own, with experts split over all GPUs
            (data-parallel attention); 1 if attention is tensor parallel over all GPUs.
    """

    model: str
    hardware: str
    gpus: int
    engine: str = "vllm"
    precision: str = "bf16"
    attention_ranks: int = 1

    @property
    def label(self) -> str:
        """Short name for tables."""
        split = ", data-parallel attention" if self.attention_ranks > 1 else ""
        return f"{self.model} on {self.gpus}x{self.hardware} ({self.engine}, {self.precision}{split})"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillLimits:
    """How much deferrable work one replica admits beside real-time work.

    Args:
        sequences: Sequences in the replica, real-time ones included, up to which deferrable ones join; 0 admits none.
        prefill_tokens: Prompt tokens of deferrable work in one step.
        kv_share: Share of the replica's KV memory up to which deferrable work joins, in [0, 1].
    """

    sequences: int
    prefill_tokens: int
    kv_share: float

    def __post_init__(self) -> None:
        if self.sequences < 0:
            raise InfeasibleError(f"deferrable work cannot join up to {self.sequences} sequences", where="backfill")
        if self.prefill_tokens < 0:
            raise InfeasibleError(f"a step cannot hold {self.prefill_tokens} prompt tokens", where="backfill")
        if not 0 <= self.kv_share <= 1:
            raise InfeasibleError(f"the share of KV memory must be in [0, 1], not {self.kv_share}", where="backfill")

    def scaled(self, share: float) -> Self:
        """Return a share of the sequences and of the memory; at least one sequence where there are any."""
        sequences = max(1, round(self.sequences * share)) if self.sequences else 0
        return replace(self, sequences=sequences, kv_share=self.kv_share * share)


PLACES: Final = ("provider", "region", "hardware")
"""The attributes of a venue that a workload's `allow` and `deny` refer to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where a workload may run, as lower-case globs; empty sets allow everything.

    A venue without a region, which may be anywhere, is permitted only if regions are unrestricted.

    Args:
        allow_provider: If not empty, only these.
        deny_provider: Never these.
        allow_region: If not empty, only these.
        deny_region: Never these.
        allow_hardware: If not empty, only these, and no token API.
        deny_hardware: Never these.
    """

    allow_provider: frozenset[str] = frozenset()
    deny_provider: frozenset[str] = frozenset()
    allow_region: frozenset[str] = frozenset()
    deny_region: frozenset[str] = frozenset()
    allow_hardware: frozenset[str] = frozenset()
    deny_hardware: frozenset[str] = frozenset()

    @classmethod
    def from_tables(cls, allow: Mapping[str, Iterable[str]], deny: Mapping[str, Iterable[str]]) -> "Access":
        """Return the access that tables keyed by `PLACES` describe."""
        return cls(
            allow_provider=frozenset(allow.get("provider", ())),
            deny_provider=frozenset(deny.get("provider", ())),
            allow_region=frozenset(allow.get("region", ())),
            deny_region=frozenset(deny.get("region", ())),
            allow_hardware=frozenset(allow.get("hardware", ())),
            deny_hardware=frozenset(deny.get("hardware", ())),
        )

    @property
    def allow(self) -> dict[str, list[str]]:
        """Allowed globs by place, without unrestricted places."""
        globs_by_place = zip(PLACES, (self.allow_provider, self.allow_region, self.allow_hardware), strict=True)
        return {place: sorted(globs) for place, globs in globs_by_place if globs}

    @property
    def deny(self) -> dict[str, list[str]]:
        """Denied globs by place, without unrestricted places."""
        globs_by_place = zip(PLACES, (self.deny_provider, self.deny_region, self.deny_hardware), strict=True)
        return {place: sorted(globs) for place, globs in globs_by_place if globs}

    def permits(self, provider: str, region: str, hardware: str = "") -> bool:
        """Whether a venue may serve the workload."""
        known = region != "" or not (self.allow_region or self.deny_region)
        return (
            known
            and _is_allowed(provider, self.allow_provider, self.deny_provider)
            and _is_allowed(region, self.allow_region, self.deny_region)
            and _is_allowed(hardware, self.allow_hardware, self.deny_hardware)
        )


def _is_allowed(name: str, allow: frozenset[str], deny: frozenset[str]) -> bool:
    """Whether a name is allowed and not denied; an empty name matches no glob."""
    allowed, denied = (any(name and fnmatchcase(name.lower(), glob) for glob in globs) for globs in (allow, deny))
    return bool((allowed or not allow) and not denied)


OWN_DEADLINE: Final = "own deadline"
"""The workload of requests that state their own deadline and match no declared workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The requests that share a promise.

    Args:
        name: Name in the output.
        lane: Kind of promise.
        slo: Promise of a real-time workload, else None.
        deadline: Deadline of a deferrable workload as the user wrote it ("4h", "06:00", ISO 8601), else "".
        match: Pairs of column name and glob; a request belongs to the workload if all match.
        access: Where it may run.
        assumed: Whether the lane was assumed rather than declared.
        deferred_from: Real-time workload that its requests were taken from, if they were.
    """

    name: str
    lane: Lane
    slo: Slo | None = None
    deadline: str = ""
    match: tuple[tuple[str, str], ...] = ()
    access: Access = field(default_factory=Access)
    assumed: bool = False
    deferred_from: str = ""

    def __post_init__(self) -> None:
        if self.lane is Lane.REALTIME and self.slo is None:
            raise WorkloadsError("a realtime workload needs an slo", where=self.name)
        if self.lane is Lane.DEFERRABLE and not self.deadline:
            raise WorkloadsError("a deferrable workload needs a deadline", where=self.name, fix='add deadline = "4h"')
