"""The profiles and corrections that ship with the package, and profiles that users sample or calibrate.

The only module in `perf` that reads files.
"""

import functools
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from meritorder.documents import read_file
from meritorder.domain import Model, Provenance, Replica
from meritorder.errors import MissingExtraError, PerformanceError
from meritorder.perf.corrections import Correction
from meritorder.perf.profile import Profile, Residuals
from meritorder.perf.siblings import TWINS, from_twin
from meritorder.perf.silicon import SYSTEMS, sample_profile
from meritorder.units import format_count


class KnownErrors(msgspec.Struct, frozen=True, kw_only=True):
    """The errors of speeds by their kind, on measured servers that no fit has seen.

    Args:
        all: Of all servers, with the corrections that apply to them.
        tables: Of operator tables without a correction, by engine.
        roofline: Of data sheets, beside their median.
        roofline_slower: That median: how many times as long servers take as the data sheets promise.
        per_month: What a month between versions of an engine adds to the logarithm of a range.
    """

    all: Residuals
    tables: dict[str, Residuals]
    roofline: Residuals
    roofline_slower: float
    per_month: float


@functools.cache
def shipped_profiles(model: str = "") -> tuple[Profile, ...]:
    """Read the shipped profiles, of one model or of all: one JSON object a line, which begins with its model."""
    start = msgspec.json.encode({"model": model})[:-1] if model else b""
    lines = (files("meritorder.perf") / "data" / "profiles.jsonl").read_bytes().splitlines()
    decoder = msgspec.json.Decoder(Profile)
    return tuple(decoder.decode(line) for line in lines if line.startswith(start))


@functools.cache
def shipped_corrections() -> tuple[Correction, ...]:
    """Read the corrections of the published validation, one for each hardware and engine."""
    text = (files("meritorder.perf") / "data" / "corrections.json").read_bytes()
    return tuple(msgspec.json.decode(text, type=list[Correction]))


@functools.cache
def shipped_errors() -> KnownErrors:
    """Read the errors that the published validation found, by kind of speed."""
    text = (files("meritorder.perf") / "data" / "errors.json").read_bytes()
    return msgspec.json.decode(text, type=KnownErrors)


def apply_correction(profile: Profile) -> Profile:
    """Return a profile of the operator tables corrected to measured servers, by the correction of its model if it can.

    Where none of its hardware has seen the model, its twin's corrected speed is better. It is unchanged if no
    correction is known to help its model.

    Calibrated profiles and rooflines are returned unchanged: corrections are for the operator tables.
    """
    if profile.provenance not in {Provenance.SILICON, Provenance.INTERPOLATED}:
        return profile
    best = _best_correction(profile)
    if best is None or not best.has_seen(profile):
        for hardware in TWINS.get(profile.hardware, ()):
            twin = _shipped_on(hardware, profile)
            of_twin = _best_correction(twin) if twin else None
            if twin and of_twin and of_twin.has_seen(twin):
                return from_twin(profile, of_twin.apply(twin))
    return best.apply(profile) if best else profile


def _best_correction(profile: Profile) -> Correction | None:
    known = [correction for correction in shipped_corrections() if correction.covers(profile)]
    return max(known, key=lambda found: (bool(found.model), bool(found.hardware)), default=None)


def _shipped_on(hardware: str, profile: Profile) -> Profile | None:
    """Return the shipped profile of the same replica on other hardware, with a cache of the same precision."""
    replica = msgspec.structs.replace(profile, hardware=hardware).replica
    return next(
        (
            known
            for known in shipped_profiles(profile.model)
            if known.replica == replica
            and known.memory
            and profile.memory
            and known.memory.cache == profile.memory.cache
        ),
        None,
    )


def load_profiles(path: Path) -> tuple[Profile, ...]:
    """Read the profiles of a TOML or JSON file, as calibration writes it: one at top level, or several as `profile`.

    Raises:
        PerformanceError: The file is missing or is not a profile.
    """
    try:
        text = read_file(path)
        content = msgspec.toml.decode(text) if path.suffix == ".toml" else msgspec.json.decode(text)
        if isinstance(content, dict) and "profile" in content:
            return tuple(msgspec.convert(content["profile"], list[Profile]))
        return (msgspec.convert(content, Profile),)
    except OSError as error:
        raise PerformanceError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        raise PerformanceError(f"not a profile: {error}", where=str(path)) from error


def to_toml(found: Sequence[Profile]) -> str:
    """Return profiles as TOML, which `load_profiles` reads."""
    if len(found) == 1:
        return _table("", msgspec.to_builtins(found[0]))
    return "\n".join("[[profile]]\n" + _table("profile", msgspec.to_builtins(profile)) for profile in found)


def _table(path: str, values: dict[str, Any]) -> str:
    """Return a table and its subtables as TOML, whose numbers, strings and lists are written as in JSON."""
    plain = {name: value for name, value in values.items() if value is not None and not isinstance(value, dict)}
    lines = [f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in plain.items()]
    for name, value in values.items():
        if isinstance(value, dict):
            below = f"{path}.{name}" if path else name
            lines.append(f"\n[{below}]\n{_table(below, value)}")
    return "".join(lines)


def find_profiles(
    model: Model, hardware: str, *, engine: str, precision: str | None, gpus: int | None
) -> tuple[Profile, ...]:
    """Return the profiles of a model on hardware, fewest GPUs first, tensor-parallel attention before data-parallel.

    What does not ship is sampled from the operator tables if aiconfigurator-core is installed.

    Args:
        model: The model.
        hardware: `Hardware.id`.
        engine: Engine.
        precision: Precision of the weights; None for the model's native one.
        gpus: GPUs of a replica; None for all numbers that were measured.

    Raises:
        PerformanceError: There are no measurements; the message names those that exist.
    """
    wanted = precision or model.served_precision
    shipped = [p for p in shipped_profiles(model.id) if p.hardware == hardware and p.engine == engine]
    found = [p for p in shipped if p.precision == wanted and gpus in (None, p.gpus)]
    if found:
        return tuple(sorted(found, key=lambda profile: (profile.gpus, profile.attention_ranks)))
    replica = Replica(model=model.id, hardware=hardware, gpus=gpus or 1, engine=engine, precision=wanted)
    available = _describe_available(model, hardware, engine)
    try:
        sampled = _sample_all(model, replica, gpus) if hardware in SYSTEMS and model.hf_id else ()
    except MissingExtraError:
        sampled = ()
        available += "; pip install 'meritorder[silicon]' (Linux x86-64) to sample profiles that do not ship"
    if sampled:
        return sampled
    raise PerformanceError("no measured performance", where=replica.label, fix=available)


def _sample_all(model: Model, replica: Replica, gpus: int | None) -> tuple[Profile, ...]:
    sampled = []
    for count in (gpus,) if gpus else (1, 2, 4, 8):
        variant = Replica(
            model=replica.model,
            hardware=replica.hardware,
            gpus=count,
            engine=replica.engine,
            precision=replica.precision,
        )
        try:
            sampled.append(_sample(variant, model.hf_id, native=replica.precision == model.precision))
        except PerformanceError:
            continue
    return tuple(sampled)


@functools.cache
def _sample(replica: Replica, hf_id: str, *, native: bool) -> Profile:
    return sample_profile(replica, hf_id, native=native)


def _describe_available(model: Model, hardware: str, engine: str) -> str:
    of_model = shipped_profiles(model.id)
    here = sorted({(p.precision, p.gpus) for p in of_model if p.hardware == hardware and p.engine == engine})
    if here:
        return "measured here are " + ", ".join(
            f"{precision} on {format_count(gpus, 'GPU')}" for precision, gpus in here
        )
    engines: dict[str, set[str]] = {}
    for profile in of_model:
        engines.setdefault(profile.hardware, set()).add(profile.engine)
    alike: dict[str, list[str]] = {}
    for gpu, names in sorted(engines.items()):
        alike.setdefault(", ".join(sorted(names)), []).append(gpu)
    if alike:
        measured = "; ".join(f"{', '.join(gpus)} with {names}" for names, gpus in alike.items())
        return f"{model.id} was measured on {measured}"
    models = ", ".join(sorted({p.model for p in shipped_profiles()}))
    return f"measured models are {models}; or calibrate your own endpoint"
