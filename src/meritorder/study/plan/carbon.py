"""The carbon intensity of power by region and time, read from a file.

    region,hour,grams_per_kwh
    us-east-1,0,412
    us-east-1,12,287
    eu-west-1,2026-01-05T00:00Z,312
    eu-west-1,2026-01-05T01:00Z,305
    eu-north-1,,21
    *,,400

A row is valid until the next row of its region; without an hour it is valid all day. Hours are in UTC. The last row
with a date is valid for as long as the row before it. Region `*` covers every region that the file does not list, and
machines whose price names no region.
"""

import csv
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.documents import read_file
from meritorder.errors import ConfigError
from meritorder.planner.model.problem import CarbonPrice, Problem
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_DAY, SECONDS_PER_HOUR, utc

Floats = NDArray[np.float64]

_COLUMNS: Final = ("region", "hour", "grams_per_kwh")
_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Intensity:
    """The carbon intensity of a region's power.

    Args:
        from_s: Start of each row, shape (rows,): second of the day, or UTC epoch if the rows have dates.
        grams: Grams of CO2 per kWh, shape (rows,).
        dated: Whether the rows have dates.
    """

    from_s: Floats
    grams: Floats
    dated: bool

    @property
    def until_s(self) -> float:
        """End of the last row's validity, for rows with dates."""
        return float(2 * self.from_s[-1] - self.from_s[-2]) if len(self.from_s) > 1 else np.inf

    def at(self, epoch_s: Floats) -> Floats:
        """Return the grams per kWh at the given times."""
        times_s = epoch_s if self.dated else epoch_s % SECONDS_PER_DAY
        # Before the first row of a day, the last row of the day before is valid.
        return np.asarray(self.grams[np.searchsorted(self.from_s, times_s, side="right") - 1])


def price_carbon(
    known: Mapping[str, Intensity], usd_per_tonne: float, problem: Problem, epoch_s: float | None, where: str
) -> CarbonPrice:
    """Return the carbon price of a problem's machines in each slot.

    Args:
        known: The intensities, by region.
        usd_per_tonne: Price of a tonne of CO2.
        problem: The problem; the intensity of each of its regions must be known.
        epoch_s: UTC epoch of its first slot; None for a trace without dates, which begins at midnight.
        where: The file, for messages.

    Raises:
        ConfigError: A region is missing, or the dates do not cover the trace.
    """
    begin_s = np.arange(problem.horizon.length, dtype=np.float64) * problem.horizon.slot_s + (epoch_s or 0.0)
    grams: dict[str, Floats] = {}
    for region in sorted({pool.region for pool in problem.pools}):
        intensity = known.get(region) or known.get(_ANY)
        if intensity is None:
            named = region or "machines whose price names no region"
            raise ConfigError(f"no carbon intensity for {named}", where=where, fix="add a row; * is any region")
        if intensity.dated:
            _check_dates(intensity, begin_s, epoch_s, where)
        grams[region] = intensity.at(begin_s)
    return CarbonPrice(usd_per_tonne=usd_per_tonne, grams_per_kwh=grams)


def _check_dates(intensity: Intensity, begin_s: Floats, epoch_s: float | None, where: str) -> None:
    if epoch_s is None:
        raise ConfigError("has dates, but the trace has none", where=where, fix="state hours of the day, 0 to 23")
    first_s, last_s = float(begin_s[0]), float(begin_s[-1])
    if first_s < intensity.from_s[0] or last_s >= intensity.until_s:
        covered = f"{utc(float(intensity.from_s[0])):%Y-%m-%dT%H:%MZ} to {utc(intensity.until_s):%Y-%m-%dT%H:%MZ}"
        needed = f"{utc(first_s):%Y-%m-%dT%H:%MZ} to {utc(last_s):%Y-%m-%dT%H:%MZ}"
        raise ConfigError(f"covers {covered}, but the trace spans {needed}", where=where, fix="add the missing rows")


def read_carbon(path: Path) -> dict[str, Intensity]:
    """Read carbon intensities by region.

    Raises:
        ConfigError: The file is invalid; names the row.
    """
    try:
        rows = list(csv.DictReader(read_file(path).decode("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot be read ({error})", where=str(path)) from None
    if not rows or not {"region", "grams_per_kwh"} <= set(rows[0]):
        raise ConfigError("has no rows of region and grams_per_kwh", where=str(path), fix=",".join(_COLUMNS))
    known: dict[str, dict[float, float]] = {}
    dated: dict[str, bool] = {}
    for number, row in enumerate(rows, start=2):
        where, region = f"{path}, row {number}", (row["region"] or "").strip()
        from_s, grams, has_date = _row(row, where)
        if dated.setdefault(region, has_date) != has_date:
            raise ConfigError("this region has both hours of the day and dates", where=where, fix="use one of them")
        if from_s in known.setdefault(region, {}):
            raise ConfigError("this region has this time twice", where=where)
        known[region][from_s] = grams
    return {
        region: Intensity(
            np.array(sorted(times)), np.array([times[from_s] for from_s in sorted(times)]), dated=dated[region]
        )
        for region, times in known.items()
    }


def _row(row: dict[str, str], where: str) -> tuple[float, float, bool]:
    """Return the start of a row's validity, its grams, and whether it has a date."""
    text = (row.get("hour") or "0").strip() or "0"
    try:
        grams = float(row["grams_per_kwh"])
        if text.isdigit():
            from_s, has_date = int(text) * SECONDS_PER_HOUR, False
        else:
            moment = dt.datetime.fromisoformat(text)
            from_s, has_date = (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp(), True
    except (TypeError, ValueError):
        raise _invalid_row(where) from None
    if not (np.isfinite(grams) and grams >= 0) or not (has_date or from_s < HOURS_PER_DAY * SECONDS_PER_HOUR):
        raise _invalid_row(where)
    return from_s, grams, has_date


def _invalid_row(where: str) -> ConfigError:
    return ConfigError("needs an hour from 0 to 23 or an ISO 8601 time, and a number of grams", where=where)
