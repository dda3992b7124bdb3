"""The nouns of the project: frozen records that validate themselves.

Words are those of docs/reference/glossary.md. Requests in bulk are columns (`tables.py`), never these records.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, Self

from meritorder.errors import CatalogError, InfeasibleError, WorkloadsError

# mxfp4: 4 bits, and an 8-bit scale for each 32 of them. Source: OCP Microscaling Formats 1.0, 2023.
_BYTES_PER_PARAMETER: Final = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "mxfp4": 4.25 / 8}
_COUNT: Final = re.compile(r"\d+x[ _]")


def without_count(instance: str) -> str:
    """Return the name of a machine without the number of its GPUs before it: `H100` of `2x H100`."""
    return _COUNT.sub("", instance, count=1) if _COUNT.match(instance) else instance


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
        precision: Native precision of the weights: bf16, fp8, mxfp4.
        context_tokens: Longest context.
        source: Source of the facts.
        as_of: Date of the facts, ISO 8601.
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

    def weights_bytes(self, precision: str) -> float | None:
        """Return the least memory that the weights take, None for an unknown precision."""
        parameter_bytes = _BYTES_PER_PARAMETER.get(precision)
        return self.parameters * parameter_bytes if parameter_bytes else None


def machine_id(provider: str, region: str, instance: str) -> str:
    """Return the name of a kind of machine in a place, by which offers, plans and bills refer to it."""
    return " ".join(part for part in (provider, region, instance) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Hardware at a price under a pricing model.

    Args:
        provider: Name of the provider, lower case.
        region: Provider's region, or "" if one price applies everywhere.
        instance: Provider's name of the machine.
        hardware: `Hardware.id` of its GPUs.
        gpus: Number of GPUs in the machine.
        pricing_model: How it is paid for.
        usd_per_hour: Price of the whole machine for an hour, upfront payments amortized over the term.
        sizes: Numbers of GPUs in which it is sold at the same price per GPU; empty if only with `gpus`.
        term: Length of the commitment ("1y", "3y", "1-182d"), "" if there is none.
        payment: "no_upfront", "partial_upfront", "all_upfront", "monthly", or "".
        minimum_billing_s: Shortest time that is billed.
        interruptions_per_month: Expected share of machines interrupted in a month (spot only), None if unknown.
        keep_warm_s: How long an idle worker stays up, and is paid, by default (serverless only), None if unknown.
        as_of: Date of the price.
        source: Source of the price.
        confidence: "high", "medium" or "low".
        assumed: Whether the price was assumed rather than found.
    """

    provider: str
    region: str
    instance: str
    hardware: str
    gpus: int
    pricing_model: PricingModel
    usd_per_hour: float
    sizes: tuple[int, ...] = ()
    term: str = ""
    payment: str = ""
    minimum_billing_s: float = 60.0
    interruptions_per_month: float | None = None
    keep_warm_s: float | None = None
    as_of: str
    source: str
    confidence: str = "medium"
    assumed: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.usd_per_hour) and self.usd_per_hour > 0):
            raise CatalogError(
                f"price must be a positive number of dollars per hour, not {self.usd_per_hour}",
                where=f"{self.provider} {self.region} {self.instance}",
            )
        if self.gpus < 1:
            raise CatalogError(
                f"a machine needs at least one GPU, not {self.gpus}", where=f"{self.provider} {self.instance}"
            )

        if self.keep_warm_s is not None and not 0 <= self.keep_warm_s < math.inf:
            raise CatalogError(
                f"keep_warm_s must be a number of seconds, not {self.keep_warm_s}",
                where=f"{self.provider} {self.instance}",
            )
        if self.sizes and (self.gpus not in self.sizes or min(self.sizes) < 1):
            raise CatalogError(
                f"sizes must be numbers of GPUs with {self.gpus} among them, not {self.sizes}",
                where=f"{self.provider} {self.instance}",
            )

    def machines(self) -> tuple["Offer", ...]:
        """Return the machine of each size at this price per GPU, named as `2x H100`; itself if it has one size."""
        return tuple(self if gpus == self.gpus else self._sized(gpus) for gpus in sorted(self.sizes)) or (self,)

    def _sized(self, gpus: int) -> "Offer":
        return replace(
            self,
            instance=f"{gpus}x {without_count(self.instance)}",
            gpus=gpus,
            usd_per_hour=self.usd_per_gpu_hour * gpus,
            sizes=(),
            confidence="medium" if self.confidence == "high" else self.confidence,
        )

    @property
    def usd_per_gpu_hour(self) -> float:
        """Price of one GPU for an hour."""
        return self.usd_per_hour / self.gpus

    @property
    def third_party(self) -> bool:
        """Whether a marketplace rents it out on behalf of third parties, with weaker guarantees."""
        return self.provider == "vast" or "community" in self.instance.lower()

    @property
    def label(self) -> str:
        """Short name for tables: provider, machine, region, pricing model."""
        place = f" {self.region}" if self.region else ""
        return f"{self.provider} {self.instance}{place} ({self.pricing_model.replace('_', ' ')})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPrompt:
    """Prices of a request whose prompt is longer than a threshold; they apply to all of its tokens.

    Args:
        above_tokens: Threshold on the prompt tokens, cached tokens included.
        input_usd_per_mtok: Price per million input tokens.
        cached_usd_per_mtok: Price per million input tokens read from the cache.
        output_usd_per_mtok: Price per million output tokens.
    """

    above_tokens: int
    input_usd_per_mtok: float
    cached_usd_per_mtok: float
    output_usd_per_mtok: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """The price of a model's tokens at one provider and tier.

    Args:
        provider: Name of the provider.
        model: `Model.id`.
        provider_model: The provider's name of the model.
        tier: Service tier.
        input_usd_per_mtok: Price per million input tokens.
        cached_usd_per_mtok: Price per million input tokens read from the cache; the input price if none is stated.
        output_usd_per_mtok: Price per million output tokens.
        as_of: Date of the price list.
        source: Source of the price.
        long_prompts: Prices above a prompt length, shortest first.
        note: Remark of the price list.
    """

    provider: str
    model: str
    provider_model: str
    tier: Tier
    input_usd_per_mtok: float
    cached_usd_per_mtok: float
    output_usd_per_mtok: float
    as_of: str
    source: str
    long_prompts: tuple[LongPrompt, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One copy of a model on n GPUs, under one engine.

    Args:
        model: `Model.id`.
        hardware: `Hardware.id`.
        gpus: GPUs that it uses (tensor parallel).
        engine: "vllm", "sglang" or "trtllm".
        precision: Precision of the weights as served.
    """

    model: str
    hardware: str
    gpus: int
    engine: str = "vllm"
    precision: str = "bf16"

    @property
    def label(self) -> str:
        """Short name for tables."""
        return f"{self.model} on {self.gpus}x{self.hardware} ({self.engine}, {self.precision})"


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
