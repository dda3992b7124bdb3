"""What the speeds of machines rest on: their source, and the version of the engine that they hold for."""

from collections.abc import Iterable
from typing import Final

from meritorder.domain import Provenance
from meritorder.perf.accuracy import expected_accuracy
from meritorder.perf.corrections import model_kind
from meritorder.perf.profile import Profile
from meritorder.perf.versions import Engine, releases_between
from meritorder.records.evidence import Assumption
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.units import format_count, format_share

_SPLIT: Final = (
    "is split by tensor parallelism; data-parallel attention with expert parallelism is not simulated, and may serve "
    "several times as many tokens where hundreds of requests wait"
)


def performance(machines: Iterable[CandidateMachine]) -> list[str]:
    """Return the source of each replica's speed, its engine's version, and its throughput when saturated."""
    lines = []
    for machine in machines:
        profile, saturation = machine.profile, machine.saturation
        if profile.provenance is Provenance.CALIBRATED:
            basis = f"calibrated: {profile.source}"
        else:
            basis = f"{profile.provenance}: {profile.source}, {profile.as_of}"
        if profile.engine_version:
            basis += f"; as {_measured(profile).label}"
        lines.append(
            f"{profile.replica.label}: {basis}; table within {profile.table_error_p90:.0%} of its source (p90); "
            f"saturated it serves {saturation.tokens_per_s:,.0f} tokens/s with {saturation.sequences:.0f} sequences"
        )
    return list(dict.fromkeys(lines))


def speed_assumptions(machines: Iterable[CandidateMachine]) -> list[Assumption]:
    """Return a line for each version of an engine that speeds hold for, and one for each split that others may beat."""
    hardware: dict[str, dict[str, None]] = {}
    splits: dict[str, None] = {}
    for profile in (machine.profile for machine in machines):
        if profile.engine_version:
            hardware.setdefault(_describe_version(profile), {})[profile.hardware] = None
        if _may_be_split_otherwise(profile):
            splits[f"{profile.replica.label} {_SPLIT}"] = None
    versions = [
        Assumption(text=f"speeds on {', '.join(names)} {text}", option="--engine NAME@VERSION")
        for text, names in hardware.items()
    ]
    return [*versions, *(Assumption(text=text, option="--profile") for text in splits)]


def _may_be_split_otherwise(profile: Profile) -> bool:
    """Return whether it is a mixture of experts on several GPUs that was not measured as the user runs it."""
    measured = profile.provenance is Provenance.CALIBRATED
    return profile.gpus > 1 and model_kind(profile) == "experts" and not measured


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
