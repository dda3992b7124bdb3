"""How far profiles are from measured servers."""

import functools
import tomllib
from dataclasses import dataclass
from importlib.resources import files

from meritorder.perf.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The error to expect of a profile's step times.

    Args:
        error: Median absolute relative error of the time per output token.
        basis: What it was measured on.
    """

    error: float
    basis: str


@functools.cache
def _measured() -> dict[tuple[str, str], tuple[float, int]]:
    text = (files("meritorder.perf") / "data" / "accuracy.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["measured"]
    return {(row["engine"], row["hardware"]): (row["error"], row["rows"]) for row in rows}


def accuracy(profile: Profile) -> Accuracy | None:
    """Return the error to expect of a profile; None if nothing like it was measured.

    Where the hardware was not measured, the largest error of the engine on other hardware is taken, and said.
    """
    here = _measured().get((profile.engine, profile.hardware))
    if here:
        error, rows = here
        return Accuracy(error=error, basis=f"median error of {rows} servers measured on {profile.hardware}")
    elsewhere = [error for (engine, _), (error, _) in _measured().items() if engine == profile.engine]
    if not elsewhere:
        return None
    basis = f"largest median error of {profile.engine} on measured hardware, as {profile.hardware} is not among it"
    return Accuracy(error=max(elsewhere), basis=basis)
