"""Candidate machines for a trace: each replica that can serve it, on each machine size worth renting."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from meritorder import catalog as facts
from meritorder.domain import Attention, BackfillLimits, Hardware, Model, PricingModel, Replica
from meritorder.errors import CatalogError, InfeasibleError, MissingExtraError, PerformanceError
from meritorder.offers import Offer
from meritorder.perf.memory import resized
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.perf.roofline import roofline, within_peak
from meritorder.perf.shipped import apply_correction, find_profiles, load_profiles, shipped_errors
from meritorder.perf.siblings import SIBLINGS, from_sibling
from meritorder.policy.backfill import BACKFILL_KV_SHARE
from meritorder.sim.pools import Interruptions, Requests, Scaling, SimPool
from meritorder.sim.run import THREADS
from meritorder.sim.saturation import Saturation, saturate, unloaded_latency
from meritorder.study.fleet.load import SATURATION_REQUESTS, TraceLoad
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.units import BYTES_PER_GIB, SECONDS_PER_HOUR

Floats = NDArray[np.float64]

_MAX_GPUS: Final = 8
# Share of the TPOT limit that a decode step may take, and a step that includes a prefill chunk of deferrable work.
_DECODE_TPOT_SHARE: Final = 0.7
_MIXED_TPOT_SHARE: Final = 0.9
_PREFILL_CHUNK_TOKENS: Final = 64
# Requests that saturated throughput is measured with in a coarse search.
_COARSE_REQUESTS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateMachine:
    """A replica's profile on a machine at a price.

    Args:
        profile: How fast a replica is.
        offer: What the machine costs.
        limits: The engine's limits.
        saturation: Throughput of a saturated replica under this trace.
        startup_s: Time from renting the machine until it serves.
        startup_paid_s: The part of that time that is paid for.
        interruptions: When the provider interrupts such machines; None if it does not.
    """

    profile: Profile
    offer: Offer
    limits: EngineLimits
    saturation: Saturation
    startup_s: float
    startup_paid_s: float
    interruptions: Interruptions | None = None

    @property
    def servers(self) -> int:
        """Replicas on one machine, each of which is a server of its own."""
        return self.offer.gpus // self.profile.gpus

    @property
    def replicas(self) -> int:
        """What schedules requests by itself on one machine: its replicas, or all ranks of data-parallel attention."""
        return self.servers * self.profile.attention_ranks

    @property
    def usd_per_replica_hour(self) -> float:
        """A replica's share of the machine's price."""
        return self.offer.usd_per_hour / self.replicas

    def work_s(self, load: TraceLoad) -> Floats:
        """Return the seconds of a saturated replica that each request takes, shape (requests,)."""
        return self.saturation.work_s(load.input_tokens, load.cached_tokens, load.output_tokens)

    def price_work(self, load: TraceLoad) -> float:
        """Return what the requests would cost on saturated replicas, in fractions of machines."""
        return float(self.work_s(load).sum()) / SECONDS_PER_HOUR * self.usd_per_replica_hour

    def least_start_usd(self, load: TraceLoad) -> float:
        """Return the least that one machine costs which is rented for some of the requests."""
        paid_s = max(self.startup_paid_s, self.offer.minimum_billing_s) / load.pace
        return self.offer.usd_per_hour * paid_s / SECONDS_PER_HOUR

    def least_batch_usd(self, load: TraceLoad) -> float:
        """Return a lower bound on the cost of requests on machines that are rented for them."""
        startup_usd = self.offer.usd_per_hour * self.startup_paid_s / load.pace / SECONDS_PER_HOUR
        return max(self.least_start_usd(load), self.price_work(load) + startup_usd)

    def residence_s(self, load: TraceLoad) -> Floats:
        """Return how long each request stays in a saturated replica, shape (requests,)."""
        batch = max(self.saturation.sequences, 1.0)
        context = float(np.mean(load.input_tokens + load.output_tokens / 2))
        pace_s = float(self.profile.step_time_s(0, batch, batch * context))
        # Prefill of other requests runs between decode steps and slows a saturated replica by its share of the work.
        crowded_s = batch * float(self.work_s(load).sum()) / max(float(load.output_tokens.sum()), 1.0)
        per_token_s = max(pace_s, crowded_s)
        step_s = float(self.profile.step_time_s(self.limits.max_num_batched_tokens, batch, batch * context))
        prefill_steps = np.ceil(load.input_tokens / self.limits.max_num_batched_tokens)
        return np.asarray(load.output_tokens * per_token_s + (prefill_steps + 1) * step_s)

    def slowed(self, factor: float) -> Self:
        """Return the machine with every engine step longer by this factor."""
        return replace(self, profile=self.profile.slowed(factor), saturation=self.saturation.slowed(factor))

    def pool(self, scaling: Scaling, *, realtime: bool, backfill: BackfillLimits | None) -> SimPool:
        """Return a simulator pool of such machines."""
        return SimPool(
            profile=self.profile,
            scaling=scaling,
            limits=self.limits,
            replicas_per_instance=self.replicas,
            realtime=realtime,
            backfill=backfill,
            startup_s=self.startup_s,
            startup_paid_s=self.startup_paid_s,
            minimum_billing_s=self.offer.minimum_billing_s,
            interruptions=self.interruptions,
        )


def by_batch(machines: Sequence[CandidateMachine], load: TraceLoad, most: int | None = None) -> list[CandidateMachine]:
    """Return machines by the least that a batch costs; if limited, the first and those of the cheapest hour."""
    by_work = sorted(machines, key=lambda machine: machine.least_batch_usd(load))
    by_hour = sorted(machines, key=lambda machine: machine.offer.usd_per_hour)
    return [machine for machine in by_work if machine in (*by_work[:most], *by_hour[:most])]


def unrestricted_backfill(limits: EngineLimits) -> BackfillLimits:
    """Return the backfill limits of a replica that serves no real-time work."""
    return BackfillLimits(sequences=limits.max_num_seqs, prefill_tokens=limits.max_num_batched_tokens, kv_share=1.0)


def max_backfill(machine: CandidateMachine, load: TraceLoad) -> BackfillLimits:
    """Return the most deferrable work in a replica at which real-time requests still meet their TPOT limit.

    The largest batch whose decode step takes at most 70 % of the tightest TPOT limit, and then the longest prefill
    chunk with which the step takes at most 90 % of it, in parts of 64 tokens; of a quarter of a small step.
    """
    limit_s = load.tightest_tpot_s
    context = float(np.mean(load.input_tokens + load.output_tokens / 2))
    batches = np.arange(1.0, machine.limits.max_num_seqs + 1)
    decode_s = machine.profile.step_time_s(0, batches, batches * context)
    sequences = int(np.count_nonzero(decode_s <= _DECODE_TPOT_SHARE * limit_s))
    size = min(_PREFILL_CHUNK_TOKENS, max(1, (machine.limits.max_num_batched_tokens - sequences) // 4))
    chunks = np.arange(float(size), machine.limits.max_num_batched_tokens - sequences + 1, float(size))
    mixed_s = machine.profile.step_time_s(chunks, sequences, sequences * context, chunks * context / 2)
    tokens = int(size * np.count_nonzero(mixed_s <= _MIXED_TPOT_SHARE * limit_s))
    return BackfillLimits(
        sequences=sequences if tokens else 0, prefill_tokens=max(tokens, size), kv_share=BACKFILL_KV_SHARE
    )


def check_slo(load: TraceLoad, profile: Profile, limits: EngineLimits) -> None:
    """Check that an otherwise idle replica meets the SLO.

    Raises:
        InfeasibleError: Too few requests meet it even alone; the message says which limits would do.
    """
    realtime = load.select(~load.deferrable)
    if not len(realtime):
        return
    nothing_s = np.zeros(len(realtime))
    ttft_s, tpot_s = unloaded_latency(realtime.requests(nothing_s, nothing_s), profile, limits)
    tpot_s = np.where(realtime.output_tokens > 1, tpot_s, np.nan)
    share, enough = realtime.slo_attainment(ttft_s, tpot_s)
    if enough or share is None:
        return
    required = [workload.slo.attainment for workload in load.workloads if workload.slo]
    needed = max([load.attainment, *required])
    finite = tpot_s[np.isfinite(tpot_s)]
    takes = f"TTFT of {np.quantile(ttft_s, needed):.2g} s"
    takes += f" and TPOT of {np.quantile(finite, needed):.2g} s" if len(finite) else ""
    raise InfeasibleError(
        f"no replica can meet the SLO: alone on an idle one {share:.1%} of requests meet it, "
        f"{needed:.1%} must; that share needs {takes}",
        where=profile.replica.label,
        fix="loosen it with --slo ttft=…,tpot=…, use more GPUs per replica (--tp), or faster hardware",
    )


def find_machines(
    catalog: facts.Catalog, model: Model, load: TraceLoad, options: CompareOptions, progress: Progress
) -> list[CandidateMachine]:
    """Return every replica that can serve the requests, on every machine size worth renting; the cheapest work first.

    Profiles are corrected to the speed of measured servers.

    Raises:
        MeritorderError: There is none; the message names what is available.
    """
    known: list[tuple[Profile, EngineLimits, tuple[Offer, ...]]] = []
    problems: list[Exception] = []
    for profile in candidate_profiles(catalog, model, options, problems):
        limits = options.engine_limits(profile)
        longest = int((load.input_tokens.astype(np.int64) + load.output_tokens).max())
        if longest > profile.longest_tokens:
            problems.append(_too_long(profile, longest))
            continue
        try:
            offers = catalog.machine_sizes(
                profile.hardware, profile.gpus, (PricingModel.ON_DEMAND,), options.providers, options.regions
            )
        except CatalogError as error:
            problems.append(error)
            continue
        known.append((profile, limits, offers))
    if not known:
        raise problems[0]
    sample = load.sample(_COARSE_REQUESTS if options.coarse else SATURATION_REQUESTS)
    requests = sample.requests(np.zeros(len(sample)), np.zeros(len(sample)))
    profiles, engines, offers_of = zip(*known, strict=True)
    with ThreadPoolExecutor(max_workers=THREADS) as threads:
        saturations = threads.map(partial(_measure, requests, progress), profiles, engines)
    machines = [
        CandidateMachine(
            profile=profile,
            offer=offer,
            limits=limits,
            saturation=saturation,
            startup_s=options.startup.total_s,
            startup_paid_s=options.startup.paid_s,
        )
        for profile, limits, offers, saturation in zip(profiles, engines, offers_of, saturations, strict=True)
        for offer in offers
    ]
    return sorted(machines, key=lambda machine: machine.price_work(load))


def _measure(requests: Requests, progress: Progress, profile: Profile, limits: EngineLimits) -> Saturation:
    progress(f"measuring saturated {profile.replica.label}")
    return saturate(requests, profile, limits)


def candidate_profiles(
    catalog: facts.Catalog, model: Model, options: CompareOptions, problems: list[Exception]
) -> Iterable[Profile]:
    """Yield the corrected profiles of every replica that the options allow.

    Args:
        catalog: Hardware.
        model: Model to serve.
        options: Hardware, engine, precision and GPUs per replica.
        problems: Receives the reason for each profile that is missing.

    Raises:
        MeritorderError: A file cannot be read, or no hardware is named.
    """
    for profile in _known_profiles(catalog, model, options, problems):
        try:
            served = profile.slowed(options.slower) if options.slower != 1 else profile
            served = msgspec.structs.replace(served, user_version=options.served_by.version)
            yield resized(served, options.memory_utilization, options.kv_cache_dtype)
        except PerformanceError as error:
            problems.append(error)


def _known_profiles(
    catalog: facts.Catalog, model: Model, options: CompareOptions, problems: list[Exception]
) -> Iterable[Profile]:
    """Yield the profiles before the options of memory."""
    if options.profile:
        yield from _own_profiles(options.profile, model)
        return
    if not options.hardware:
        raise CatalogError("no hardware was given", where="--hardware", fix="name GPUs, such as h100,h200")
    precisions = dict.fromkeys((options.precision or model.served_precision, *options.allowed_precisions))
    for name, precision in product(options.hardware, precisions):
        hardware = catalog.find_hardware(name)
        try:
            found = measured_profiles(
                catalog, model, hardware, engine=options.served_by.name, precision=precision, gpus=options.tp
            )
            yield from _split(found, options.attention)
        except (PerformanceError, MissingExtraError) as error:
            problem: PerformanceError | MissingExtraError = error
            if options.roofline:
                try:
                    yield from _rooflines(model, hardware, options, precision)
                except PerformanceError as unfit:
                    problem = unfit
            problems.append(_too_large(model, hardware, options, precision) or problem)


def _split(profiles: Sequence[Profile], attention: Attention) -> Sequence[Profile]:
    """Return the profiles whose attention is split this way.

    Raises:
        PerformanceError: There is none.
    """
    if attention == Attention.ANY:
        return profiles
    found = [profile for profile in profiles if (profile.attention_ranks > 1) is (attention == Attention.DATA)]
    if not found:
        kind = "data" if attention == Attention.DATA else "tensor"
        raise PerformanceError(
            f"no measured performance with {kind}-parallel attention",
            where=profiles[0].replica.label,
            fix="leave out --attention, or choose other GPUs, engine or precision",
        )
    return found


def measured_profiles(
    catalog: facts.Catalog, model: Model, hardware: Hardware, *, engine: str, precision: str | None, gpus: int | None
) -> list[Profile]:
    """Return the corrected profiles of measured step times, of the hardware or of a sibling with its chip.

    No step is faster than the hardware.

    Raises:
        PerformanceError: There are no measurements; the message names those that exist.
    """
    if hardware.id not in SIBLINGS:
        found = find_profiles(model, hardware.id, engine=engine, precision=precision, gpus=gpus)
        return [within_peak(apply_correction(profile), profile, model, hardware) for profile in found]
    sibling = catalog.find_hardware(SIBLINGS[hardware.id])
    found = find_profiles(model, sibling.id, engine=engine, precision=precision, gpus=gpus or 1)
    return [from_sibling(apply_correction(profile), sibling, hardware) for profile in found]


def _rooflines(model: Model, hardware: Hardware, options: CompareOptions, precision: str) -> list[Profile]:
    """Return profiles estimated from data sheets, as slow as servers usually are, for each number of GPUs that fits.

    Raises:
        PerformanceError: The weights fit on none.
    """
    slower = shipped_errors().roofline_slower
    found: list[Profile] = []
    unfit: list[PerformanceError] = []
    for gpus in (options.tp,) if options.tp else (1, 2, 4, _MAX_GPUS):
        replica = Replica(
            model=model.id,
            hardware=hardware.id,
            gpus=gpus,
            engine=options.served_by.name,
            precision=precision,
        )
        try:
            plain = roofline(model, hardware, replica, as_of=hardware.as_of).slowed(slower)
        except PerformanceError as error:
            unfit.append(error)
            continue
        source = f"{plain.source}, {slower:.1f} times as slow, as servers are"
        found.append(msgspec.structs.replace(plain, source=source))
    if not found:
        raise unfit[-1]
    return found


def _own_profiles(path: Path, model: Model) -> list[Profile]:
    """Return the profiles of this model in a file."""
    profiles = load_profiles(path)
    of_model = [profile for profile in profiles if profile.model == model.id]
    if not of_model:
        known = ", ".join(sorted({profile.model for profile in profiles}))
        raise PerformanceError(
            f"no profile of {model.id}", where=str(path), fix=f"it has {known}; choose one with --model"
        )
    return of_model


def _too_large(model: Model, hardware: Hardware, options: CompareOptions, precision: str) -> InfeasibleError | None:
    """Return an error if the weights alone exceed the memory of a replica's GPUs."""
    weights_bytes = model.weights_bytes(precision) or 0.0
    gpus = options.tp or _MAX_GPUS
    if weights_bytes <= gpus * hardware.memory_bytes:
        return None
    return InfeasibleError(
        f"the weights of {model.id} take {weights_bytes / BYTES_PER_GIB:,.0f} GiB, "
        f"but {gpus} x {hardware.id} hold {gpus * hardware.memory_bytes / BYTES_PER_GIB:,.0f} GiB",
        where=hardware.id,
        fix="use more GPUs per replica (--tp) or hardware with more memory (--hardware)",
    )


def _too_long(profile: Profile, longest: int) -> InfeasibleError:
    return InfeasibleError(
        f"the longest request has {longest:,} tokens, but memory holds {profile.longest_tokens:,}",
        where=profile.replica.label,
        fix="use more GPUs per replica (--tp) or hardware with more memory (--hardware)",
    )
