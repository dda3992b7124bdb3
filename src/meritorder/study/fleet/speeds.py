"""What the speeds of machines rest on: their source, and the version of the engine that they hold for."""

from collections.abc import Iterable
from typing import Final

import msgspec

from meritorder.domain import Provenance
from meritorder.perf.accuracy import expected_accuracy
from meritorder.perf.corrections import model_kind
from meritorder.perf.profile import Profile
from meritorder.perf.shipped import shipped_profiles
from meritorder.perf.versions import Engine, releases_between
from meritorder.records.evidence import Assumption
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.units import format_count, format_share

_SPLIT: Final = (
    "is split by tensor parallelism; no speeds with data-parallel attention and expert parallelism ship, which may "
    "serve several times as many tokens where hundreds of requests wait"
)
_RANKS: Final = (
    "is simulated rank by rank, each as if the others were as busy; in truth all take each step together, so that one "
    "long prompt delays the tokens of every rank"
)


def performance(machines: Iterable[CandidateMachine]) -> list[str]:
    """Return the source of each replica's speed, its engine's version, and its throughput when saturated."""
    lines = []
    for machine in machines:
        profile, saturation, ranks = machine.profile, machine.saturation, machine.profile.attention_ranks
        if profile.provenance is Provenance.CALIBRATED:
            basis = f"calibrated: {profile.source}"
        else:
            basis = f"{profile.provenance}: {profile.source}, {profile.as_of}"
        if profile.engine_version:
            basis += f"; as {_measured(profile).label}"
        lines.append(
            f"{profile.replica.label}: {basis}; table within {profile.table_error_p90:.0%} of its source (p90); "
            f"saturated it serves {saturation.tokens_per_s * ranks:,.0f} tokens/s with "
            f"{saturation.sequences * ranks:.0f} sequences"
        )
    return list(dict.fromkeys(lines))


def speed_assumptions(machines: Iterable[CandidateMachine]) -> list[Assumption]:
    """Return a line for each version of an engine that speeds hold for, and one for each split that others may beat."""
    hardware: dict[str, dict[str, None]] = {}
    splits: dict[str, str] = {}
    for profile in (machine.profile for machine in machines):
        if profile.engine_version:
            hardware.setdefault(_describe_version(profile), {})[profile.hardware] = None
        if profile.attention_ranks > 1:
            splits[f"{profile.replica.label} {_RANKS}"] = "--attention tp"
        elif _may_be_split_otherwise(profile):
            splits[f"{profile.replica.label} {_SPLIT}"] = "--profile"
    versions = [
        Assumption(text=f"speeds on {', '.join(names)} {text}", option="--engine NAME@VERSION")
        for text, names in hardware.items()
    ]
    return [*versions, *(Assumption(text=text, option=option) for text, option in splits.items())]


def _may_be_split_otherwise(profile: Profile) -> bool:
    """Return whether it is a mixture of experts on several GPUs that was measured with no other split."""
    if profile.gpus == 1 or model_kind(profile) != "experts" or profile.provenance is Provenance.CALIBRATED:
        return False
    other = msgspec.structs.replace(profile, attention_ranks=profile.gpus).replica
    return all(known.replica != other for known in shipped_profiles(profile.model))


def _describe_version(profile: Profile) -> str:
    known = f"are those of {_measured(profile).label}"
    if not profile.user_version:
        return f"{known}; older releases tend to be slower"
    yours = Engine(profile.engine, profile.user_version).label
    releases = releases_between(profile.engine, profile.user_version, profile.engine_version)
    accuracy = expected_accuracy(profile)
    if not releases or accuracy is None:
        return f"{known}, taken for your {yours}"
    if releases > 0:
        wider = f"reach {format_share(accuracy.older - 1)} higher"
    else:
        wider = f"reach {format_share(1 - accuracy.newer)} lower"
    age = "older" if releases > 0 else "newer"
    return f"{known}; for your {yours}, {format_count(abs(releases), 'release')} {age}, ranges of cost {wider}"


def _measured(profile: Profile) -> Engine:
    return Engine(profile.engine, profile.engine_version)
