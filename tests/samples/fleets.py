"""Small replicas, prices and loads for tests of the simulator and the study: round numbers, worked out by hand."""

import numpy as np

from meritorder.domain import BackfillLimits, Lane, PricingModel, Provenance, Slo, Workload
from meritorder.offers import Offer
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.sim.pools import Requests
from meritorder.sim.saturation import saturate
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine

LIMITS = EngineLimits(max_num_seqs=32, max_num_batched_tokens=1024)
SLO = Slo(ttft_s=2.0, tpot_s=0.1, attainment=0.95)
WORKLOADS = (
    Workload(name="chat", lane=Lane.REALTIME, slo=SLO),
    Workload(name="bulk", lane=Lane.DEFERRABLE, deadline="1h"),
)


def profile(gpus: int = 1, *, hardware: str = "h100", faster: float = 1.0) -> Profile:
    """10 ms a decode step and 0.2 ms for each sequence beyond; a full prompt step takes 0.1 s."""
    made = Profile(
        model="llama-3.1-8b",
        hardware=hardware,
        gpus=gpus,
        engine="vllm",
        precision="bf16",
        provenance=Provenance.CALIBRATED,
        source="by hand",
        as_of="2026-01-01",
        kv_capacity_tokens=50_000,
        decode_sequences=[1, 32],
        decode_base_s=[0.010, 0.0162],
        decode_per_kv_token_s=[1e-7, 1e-7],
        step_tokens=[1, 1024],
        mixed_base_s=[0.010, 0.100],
        prefill_per_pair_s=1e-9,
    )
    return made.slowed(1 / faster)


def backfill(sequences: int, *, prefill_tokens: int = 1 << 30, kv_share: float = 1.0) -> BackfillLimits:
    return BackfillLimits(sequences=sequences, prefill_tokens=prefill_tokens, kv_share=kv_share)


def offer(gpus: int = 1, *, usd_per_hour: float = 2.0, hardware: str = "h100", instance: str = "box") -> Offer:
    return Offer(
        provider="some-cloud",
        region="",
        instance=instance,
        hardware=hardware,
        gpus=gpus,
        pricing_model=PricingModel.ON_DEMAND,
        usd_per_hour=usd_per_hour,
        as_of="2026-01-01",
        source="by hand",
    )


def requests(
    arrived_s: list[float] | np.ndarray,
    input_tokens: int | np.ndarray = 200,
    output_tokens: int | np.ndarray = 50,
    *,
    cached_tokens: int | np.ndarray = 0,
    latest_start_s: float | np.ndarray = np.inf,
    work_s: float = 1.0,
) -> Requests:
    count = len(arrived_s)

    def tokens(value: int | np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, np.int32), count).copy()

    return Requests(
        arrived_s=np.asarray(arrived_s, float),
        input_tokens=tokens(input_tokens),
        cached_tokens=tokens(cached_tokens),
        output_tokens=tokens(output_tokens),
        latest_start_s=np.broadcast_to(np.asarray(latest_start_s, float), count).copy(),
        work_s=np.full(count, work_s),
    )


def load(
    arrived_s: list[float] | np.ndarray,
    input_tokens: int | np.ndarray = 200,
    output_tokens: int | np.ndarray = 50,
    *,
    waits: list[bool] | np.ndarray | None = None,
    patience_s: float = 3600.0,
    slo: Slo = SLO,
    span_s: float | None = None,
) -> TraceLoad:
    asked = requests(arrived_s, input_tokens, output_tokens)
    deferrable = np.zeros(len(asked), bool) if waits is None else np.asarray(waits, bool)
    return TraceLoad(
        arrived_s=asked.arrived_s,
        input_tokens=asked.input_tokens,
        cached_tokens=asked.cached_tokens,
        output_tokens=asked.output_tokens,
        deadline_s=np.where(deferrable, asked.arrived_s + patience_s, np.inf),
        ttft_limit_s=np.full(len(asked), slo.ttft_s),
        tpot_limit_s=np.full(len(asked), slo.tpot_s),
        workload=deferrable.astype(np.int32),
        workloads=WORKLOADS,
        attainment=slo.attainment,
        span_s=float(asked.arrived_s[-1]) + 1 if span_s is None else span_s,
    )


def machine(
    of: TraceLoad,
    *,
    gpus: int = 1,
    box: Offer | None = None,
    replica: Profile | None = None,
    startup_s: float = 300.0,
    limits: EngineLimits = LIMITS,
) -> CandidateMachine:
    served = replica or profile(gpus)
    zeros = np.zeros(len(of))
    return CandidateMachine(
        profile=served,
        offer=box or offer(served.gpus),
        limits=limits,
        saturation=saturate(of.requests(zeros, zeros), served, limits),
        startup_s=startup_s,
        startup_paid_s=min(240.0, startup_s),
    )
