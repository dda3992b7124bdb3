"""The carbon intensity of power, from a file: by region, and by hour of the day where it is known.

    region,hour,grams_per_kwh
    us-east-1,0,412
    us-east-1,12,287
    eu-north-1,,21
    *,,400

An hour holds until the next one that the region names, in UTC; without an hour a row holds all day. The region `*` is
that of every machine whose own is not in the file, such as one whose price names no region.
"""

import csv
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import ConfigError
from meritorder.plan.problem import Carbon, Problem
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_HOUR

Floats = NDArray[np.float64]

_COLUMNS: Final = ("region", "hour", "grams_per_kwh")
_ANY: Final = "*"


def carbon_for(path: Path, usd_per_tonne: float, problem: Problem, epoch_s: float | None) -> Carbon:
    """Return the price of the carbon of a problem's machines in each of its slots.

    Args:
        path: The file.
        usd_per_tonne: Price.
        problem: The problem; each region of its pools must be in the file.
        epoch_s: UTC epoch of its first slot; where a trace tells none, it begins at midnight.

    Raises:
        ConfigError: The file makes no sense or lacks a region; says which row or which region.
    """
    days = _read(path)
    begin_s = np.arange(problem.horizon.length) * problem.horizon.slot_s + (epoch_s or 0.0)
    hour = (begin_s / SECONDS_PER_HOUR).astype(np.int64) % HOURS_PER_DAY
    grams: dict[str, Floats] = {}
    for region in {pool.region for pool in problem.pools}:
        if region not in days and _ANY not in days:
            named = region or "machines whose price names no region"
            raise ConfigError(f"no carbon intensity for {named}", where=str(path), fix="add a row; * is any region")
        grams[region] = days.get(region, days.get(_ANY, np.zeros(0)))[hour]
    return Carbon(usd_per_tonne=usd_per_tonne, grams_per_kwh=grams)


def _read(path: Path) -> dict[str, Floats]:
    """Return the grams of each hour of the day by region, shape (24,)."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=str(path)) from None
    if not rows or not {"region", "grams_per_kwh"} <= set(rows[0]):
        raise ConfigError("has no rows of region and grams_per_kwh", where=str(path), fix=",".join(_COLUMNS))
    known: dict[str, dict[int, float]] = {}
    for number, row in enumerate(rows, start=2):
        hour, grams = _row(row, f"{path}, row {number}")
        if hour in known.setdefault((row["region"] or "").strip(), {}):
            raise ConfigError("this region has that hour twice", where=f"{path}, row {number}")
        known[(row["region"] or "").strip()][hour] = grams
    return {region: _all_day(hours) for region, hours in known.items()}


def _row(row: dict[str, str], where: str) -> tuple[int, float]:
    try:
        hour, grams = int((row.get("hour") or "0").strip() or 0), float(row["grams_per_kwh"])
    except (TypeError, ValueError):
        raise ConfigError("needs an hour from 0 to 23 and a number of grams", where=where) from None
    if not (0 <= hour < HOURS_PER_DAY and np.isfinite(grams) and grams >= 0):
        raise ConfigError("needs an hour from 0 to 23 and a number of grams", where=where)
    return hour, grams


def _all_day(hours: dict[int, float]) -> Floats:
    """Let each hour hold until the next one that is named, around midnight."""
    named = np.array(sorted(hours))
    last = np.searchsorted(named, np.arange(HOURS_PER_DAY), side="right") - 1
    return np.array([hours[int(hour)] for hour in named])[last]
