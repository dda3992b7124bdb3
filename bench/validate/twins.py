"""Hardware by the corrected step times of its twin, against its own tables with the host time of its engine."""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from bench.validate.errors import Silicon
from bench.validate.fitting import log_errors
from bench.validate.markdown import share, table
from bench.validate.sample.labels import models_of
from bench.validate.sample.silicon import Row, quickly_simulated, replicas_on
from meritorder.perf.corrections import Correction
from meritorder.perf.profile import Floats, Profile
from meritorder.perf.siblings import TWINS, from_twin

_ENOUGH: Final = 20
_INTRODUCTION: Final = (
    "B200, B300, GB200 and GB300 have one chip, the same links, and nearly one bandwidth. Where no server of one of "
    "them was measured with a model, it has the corrected step times of a twin that was. Here it is tried on hardware "
    "that was measured, without its own corrections; median errors of the time of a request, on rows judged.\n"
)


def section(silicon: Silicon) -> list[str]:
    """Return the section of the page: the errors of each hardware by its twin."""
    lines = []
    for hardware, twins in TWINS.items():
        rows = [silicon.judged[i] for i in silicon.kept if silicon.judged[i].hardware == hardware]
        for twin in twins:
            if len(pairs := _pairs(rows, twin, silicon.corrections)) < _ENOUGH:
                continue
            known = [row for row, _ in pairs]
            own = _errors(known, [_host(row.profile, silicon.corrections) for row in known])
            theirs = _errors(known, [profile for _, profile in pairs])
            lines.append((hardware, twin, str(len(pairs)), *(share(float(np.median(e))) for e in (own, theirs))))
    head = ("hardware", "twin", "rows", "own tables and host time", "twin, corrected")
    return ["## Twins\n", _INTRODUCTION, table(head, lines)] if lines else []


def _pairs(rows: list[Row], twin: str, corrections: Sequence[Correction]) -> list[tuple[Row, Profile]]:
    """Return the rows that a twin's corrections have seen the model of, with its corrected replicas."""
    engines = {correction.engine for correction in corrections if correction.hardware == twin}
    corrected = [row for row in rows if row.engine in engines]
    replicas = replicas_on(twin, corrected)
    pairs = []
    for row in corrected:
        if row.id not in replicas:
            continue
        replica = msgspec.structs.replace(replicas[row.id], model=models_of(row.model)[0])
        if seen := [c for c in corrections if c.covers(replica) and c.has_seen(replica)]:
            best = max(seen, key=lambda correction: bool(correction.model))
            pairs.append((row, from_twin(row.profile, best.apply(replica))))
    return pairs


def _host(profile: Profile, corrections: Sequence[Correction]) -> Profile:
    return next((c.apply(profile) for c in corrections if not c.hardware and c.covers(profile)), profile)


def _errors(rows: list[Row], profiles: list[Profile]) -> Floats:
    simulated = np.array([quickly_simulated(row, profile) for row, profile in zip(rows, profiles, strict=True)])
    return np.abs(np.expm1(-log_errors(rows, simulated)))
