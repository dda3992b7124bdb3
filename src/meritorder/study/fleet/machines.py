"""The replicas that could serve a load, each on its cheapest machine."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from meritorder import catalog as facts
from meritorder.domain import Hardware, Model, PricingModel, Replica
from meritorder.errors import CatalogError, InfeasibleError, MissingExtraError, PerformanceError
from meritorder.perf.profile import Profile
from meritorder.perf.roofline import roofline
from meritorder.perf.shipped import corrected, find
from meritorder.perf.shipped import load as load_profiles
from meritorder.sim.saturation import saturate
from meritorder.study.fleet.fleets import CandidateMachine
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.options import Options
from meritorder.study.fleet.search import Progress
from meritorder.units import BYTES_PER_GIB

_MOST_GPUS: Final = 8


def find_machines(
    catalog: facts.Catalog, model: Model, load: TraceLoad, options: Options, progress: Progress
) -> list[CandidateMachine]:
    """Return every replica on its cheapest machine, cheapest work first, as fast as measured servers are.

    Raises:
        MeritorderError: There is none; says what there is.
    """
    found: list[CandidateMachine] = []
    problems: list[Exception] = []
    for profile in candidate_profiles(catalog, model, options, problems):
        limits = options.engine_limits(profile)
        longest = int((load.input_tokens.astype(np.int64) + load.output_tokens).max())
        if longest > profile.kv_capacity_tokens:
            problems.append(_too_long(profile, longest))
            continue
        try:
            offer = catalog.cheapest(
                profile.hardware, profile.gpus, (PricingModel.ON_DEMAND,), options.providers, options.regions
            )
        except CatalogError as error:
            problems.append(error)
            continue
        progress(f"measuring full {profile.replica.label}")
        saturation = saturate(load.requests(np.zeros(len(load)), np.zeros(len(load))), profile, limits)
        found.append(
            CandidateMachine(
                profile=profile,
                offer=offer,
                limits=limits,
                saturation=saturation,
                startup_s=options.startup.total_s,
                startup_paid_s=options.startup.paid_s,
            )
        )
    if not found:
        raise problems[0]
    return sorted(found, key=lambda machine: machine.price_work(load))


def candidate_profiles(
    catalog: facts.Catalog, model: Model, options: Options, problems: list[Exception]
) -> Iterable[Profile]:
    """Yield the profiles of every replica that the options allow, corrected; why others are missing goes to `problems`.

    Raises:
        MeritorderError: A file cannot be read, or no hardware is named.
    """
    if options.profile:
        yield from _own_profiles(options.profile, model)
        return
    if not options.hardware:
        raise CatalogError("no hardware was given", where="--hardware", fix="name GPUs, such as h100,h200")
    for name in options.hardware:
        hardware = catalog.find_hardware(name)
        try:
            found = find(model, hardware.id, engine=options.engine, precision=options.precision, gpus=options.tp)
            yield from map(corrected, found)
        except (PerformanceError, MissingExtraError) as error:
            if options.roofline:
                yield from _rooflines(model, hardware, options)
            problems.append(_too_large(model, hardware, options) or error)


def _rooflines(model: Model, hardware: Hardware, options: Options) -> Iterable[Profile]:
    """Yield what the data sheets allow, on every number of GPUs that holds the weights."""
    for gpus in (options.tp,) if options.tp else (1, 2, 4, _MOST_GPUS):
        replica = Replica(
            model=model.id,
            hardware=hardware.id,
            gpus=gpus,
            engine=options.engine,
            precision=options.precision or model.precision,
        )
        with suppress(PerformanceError):
            yield roofline(model, hardware, replica, as_of=hardware.as_of)


def _own_profiles(path: Path, model: Model) -> list[Profile]:
    """Return the profiles in a file that are of this model."""
    found = load_profiles(path)
    of_model = [profile for profile in found if profile.model == model.id]
    if not of_model:
        there = ", ".join(sorted({profile.model for profile in found}))
        raise PerformanceError(
            f"no profile of {model.id}", where=str(path), fix=f"it has {there}; say which with --model"
        )
    return of_model


def _too_large(model: Model, hardware: Hardware, options: Options) -> InfeasibleError | None:
    """Say so if the weights alone are more than the GPUs of a replica hold."""
    weights_bytes = model.weights_bytes(options.precision or model.precision) or 0.0
    gpus = options.tp or _MOST_GPUS
    if weights_bytes <= gpus * hardware.memory_bytes:
        return None
    return InfeasibleError(
        f"the weights of {model.id} take {weights_bytes / BYTES_PER_GIB:,.0f} GiB, "
        f"but {gpus} x {hardware.id} hold {gpus * hardware.memory_bytes / BYTES_PER_GIB:,.0f} GiB",
        where=hardware.id,
        fix="use more GPUs a replica (--tp) or hardware with more memory (--hardware)",
    )


def _too_long(profile: Profile, longest: int) -> InfeasibleError:
    return InfeasibleError(
        f"the longest request has {longest:,} tokens, but memory holds {profile.kv_capacity_tokens:,}",
        where=profile.replica.label,
        fix="use more GPUs a replica (--tp) or hardware with more memory (--hardware)",
    )
