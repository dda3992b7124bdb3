"""The errors that ranges of dollars rest on, by kind of speed; they ship in `perf/data/errors.json`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from bench.validate.fitting import LEVELS, Pairs, log_errors
from bench.validate.intervals import Point, per_month
from bench.validate.mlperf import Offline
from bench.validate.published import Published
from bench.validate.sample.labels import models_of
from bench.validate.sample.silicon import Row, quickly_simulated
from meritorder import catalog as facts
from meritorder.domain import Replica
from meritorder.errors import MeritorderError
from meritorder.perf.corrections import Correction
from meritorder.perf.profile import Floats, Profile, Residuals
from meritorder.perf.roofline import roofline
from meritorder.perf.shipped import KnownErrors
from meritorder.perf.versions import months_between

_DIGITS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Silicon:
    """The rows judged, with simulated times: as shipped, corrected by engine, and corrected by model."""

    judged: Sequence[Row]
    raw: Pairs
    engine: Pairs
    model: Pairs
    missing: pl.DataFrame
    total: int
    distinct: int
    corrections: Sequence[Correction]

    @property
    def kept(self) -> list[int]:
        """The rows that the sample does not contradict."""
        return [index for index, row in enumerate(self.judged) if not row.contradicted]


def all_points(silicon: Silicon, offline: Sequence[Offline], found: Sequence[Published]) -> list[Point]:
    """Return the errors of everything measured that no fit has seen, with its source."""
    by_key = {(c.hardware, c.engine, c.model, c.precision): c for c in silicon.corrections}
    points = []
    for row, error in zip(silicon.judged, log_errors(silicon.judged, silicon.model), strict=True):
        if row.contradicted or not np.isfinite(error):
            continue
        model = models_of(row.model)[0]
        own = by_key.get((*row.group, model, row.precision))
        best = own or by_key.get((*row.group, "", ""))
        simulated = best.engine_versions.get(f"{model} {row.precision}", "") if best else ""
        points.append(
            Point(
                "NVIDIA gap analysis" if row.settings.fixed_lengths else "InferenceMAX",
                "model" if own else "engine",
                *row.group,
                float(error),
                months_between(row.engine, row.engine_version, simulated or row.profile.engine_version),
            )
        )
    points += [
        Point(
            *(result.source, result.corrected, result.hardware, result.engine),
            # As much too fast as more time was measured.
            float(np.log1p(result.error)),
            result.months,
        )
        for result in found
        if result.error is not None
    ]
    return points + [
        Point("MLPerf", "engine", result.hardware, result.engine, float(np.log(result.simulated / result.measured)))
        for result in offline
        if result.simulated
    ]


def known_errors(silicon: Silicon, points: Sequence[Point]) -> KnownErrors:
    """Return the errors of every kind of speed on the judged rows.

    Args:
        silicon: The judged rows and their simulated times.
        points: All errors that no fit has seen.
    """
    rows = [silicon.judged[index] for index in silicon.kept]
    plain, best = (log_errors(rows, simulated[silicon.kept]) for simulated in (silicon.raw, silicon.model))
    engines = np.array([row.engine for row in rows])
    data_sheets = _roofline_errors(rows)
    middle = float(np.median(data_sheets[np.isfinite(data_sheets)]))
    return KnownErrors(
        all=_residuals(best, "measured servers of all engines"),
        tables={
            str(engine): _residuals(plain[engines == engine], f"measured servers of {engine} without a correction")
            for engine in np.unique(engines)
        },
        roofline=_residuals(data_sheets - middle, "measured servers against data sheets"),
        roofline_slower=round(float(np.exp(middle)), 2),
        per_month=per_month(points),
    )


def _residuals(errors: Floats, servers: str) -> Residuals:
    known = errors[np.isfinite(errors)]
    ratios = [round(float(ratio), _DIGITS) for ratio in np.exp(np.quantile(known, LEVELS))]
    return Residuals(basis=f"{len(known):,} {servers}", pace_ratios=ratios, servers=len(known))


def _roofline_errors(rows: Sequence[Row]) -> Floats:
    catalog = facts.load(())
    pairs = [(row, profile) for row in rows if (profile := _roofline(catalog, row)) is not None]
    simulated = np.array([quickly_simulated(row, profile) for row, profile in pairs])
    return log_errors([row for row, _ in pairs], simulated)


def _roofline(catalog: facts.Catalog, row: Row) -> Profile | None:
    """Return a row's server from data sheets; None if the catalog lacks its model, or it does not fit."""
    try:
        model = catalog.find_model(models_of(row.model)[0])
        replica = Replica(
            model=model.id,
            hardware=row.hardware,
            gpus=row.profile.gpus,
            engine=row.engine,
            precision=row.precision,
        )
        return roofline(model, catalog.find_hardware(row.hardware), replica, as_of="")
    except MeritorderError:
        return None
