"""The error to expect of a profile, from measured servers and logs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from meritorder.domain import Provenance
from meritorder.perf.profile import Floats, Profile, Residuals
from meritorder.perf.shipped import shipped_errors
from meritorder.perf.versions import months_between, releases_between
from meritorder.units import format_count

_DRAWS: Final = 2000
SOURCE_SPREAD: Final = 0.08
"""Standard deviation of log(measured / simulated) between sources of measurements: their machines, engine versions and
load generators differ. With it, ranges hold eight in ten points of sources left out (docs/validation.md, intervals)."""
_SHRINKAGE: Final = 100
"""A group of this many servers counts as much as all servers together."""
_COST_LEVELS: Final = (0.1, 0.9)
_MIDDLE: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The error to expect of a profile's step times.

    Args:
        error: Median absolute relative error of the pace of requests.
        basis: What the error was measured on.
        pace_ratios: Measured / simulated times there.
        servers: Number of servers that they are of.
        common_ratios: The same of all measured servers, toward which few are drawn; empty for the user's own log.
        source_spread: Standard deviation of the logarithm by which other sources differ; 0 for the user's own.
        older: Factor by which steps may be longer in the user's engine, whose version is older.
        newer: Factor by which they may be as much shorter in a newer one.
    """

    error: float
    basis: str
    pace_ratios: tuple[float, ...]
    servers: int = 0
    common_ratios: tuple[float, ...] = ()
    source_spread: float = SOURCE_SPREAD
    older: float = 1.0
    newer: float = 1.0

    def factors(self, levels: tuple[float, ...], seed: int) -> Floats:
        """Return the factors by which steps may be longer than in the profile, at quantiles of a bootstrap.

        Args:
            levels: Quantiles, shape (levels,).
            seed: Seed of the draws.
        """
        drawn = np.random.default_rng(seed).choice(np.array(self.pace_ratios), _DRAWS)
        of_version = np.array([self.newer if level < _MIDDLE else self.older for level in levels])
        return np.asarray(np.quantile(drawn, levels) * of_version)

    def cost_factors(self) -> tuple[float, float]:
        """Return the factors on a cost between which eight in ten measurements of other sources lie."""
        own = log_range(np.log(self.pace_ratios), self.source_spread)
        if self.common_ratios:
            own = drawn_together(own, self.servers, log_range(np.log(self.common_ratios), 0.0))
        low, high = np.exp(own)
        return float(low * self.newer), float(high * self.older)


def log_range(errors: Sequence[float] | Floats, spread: float) -> tuple[float, float]:
    """Return the range that holds eight in ten errors of a source that differs by a spread; all are logarithms."""
    generator = np.random.default_rng(0)
    drawn = generator.choice(np.asarray(errors), _DRAWS) + generator.standard_normal(_DRAWS) * spread
    low, high = np.quantile(drawn, _COST_LEVELS)
    return float(low), float(high)


def drawn_together(own: tuple[float, float], servers: int, common: tuple[float, float]) -> tuple[float, float]:
    """Return a range of few servers drawn toward the range of all, the more the fewer they are."""
    weight = servers / (servers + _SHRINKAGE)
    low, high = (weight * mine + (1 - weight) * theirs for mine, theirs in zip(own, common, strict=True))
    return low, high


def expected_accuracy(profile: Profile) -> Accuracy | None:
    """Return the error to expect of a profile; None if nothing comparable was measured.

    A calibrated profile has the error that it had on stretches of its own log; a corrected one that of the servers that
    its correction was judged on; operator tables without a correction, data sheets, and GPUs that were not measured
    have errors of their own kind (docs/validation.md). It is widened for the time between the engine's version and the
    user's.
    """
    own = profile.calibration
    if own is not None and own.pace_ratios:
        basis = f"stretches of {own.judged_on} requests in {own.log}"
        known = replace(_accuracy(Residuals(basis=basis, pace_ratios=own.pace_ratios)), source_spread=0.0)
    else:
        residuals = _residuals(profile)
        if residuals is None:
            return None
        known = replace(_accuracy(residuals), common_ratios=tuple(shipped_errors().all.pace_ratios))
    versions = profile.engine, profile.user_version, profile.engine_version
    releases = releases_between(*versions)
    if not releases:
        return known
    factor = float(np.exp(shipped_errors().per_month * months_between(*versions)))
    basis = f"{known.basis}, widened for {format_count(abs(releases), 'release')}"
    return replace(known, basis=basis, older=max(factor, 1.0), newer=min(factor, 1.0))


def _residuals(profile: Profile) -> Residuals | None:
    """Return the errors of the kind of a profile that was not calibrated; None if its engine was never measured."""
    errors = shipped_errors()
    if profile.provenance is Provenance.ROOFLINE:
        return errors.roofline
    known = profile.residuals or errors.tables.get(profile.engine)
    return max(known, errors.all, key=_width) if known and profile.provenance is Provenance.INTERPOLATED else known


def _width(residuals: Residuals) -> float:
    low, high = log_range(np.log(residuals.pace_ratios), 0.0)
    return high - low


def _accuracy(residuals: Residuals) -> Accuracy:
    ratios = residuals.pace_ratios
    error = float(np.median(np.abs(1 / np.array(ratios) - 1)))
    return Accuracy(error=error, basis=residuals.basis, pace_ratios=tuple(ratios), servers=residuals.servers)
