"""Utilization metrics beside a bill: how much of each machine was used over time.

What a metric measures is declared in `gpu_metrics.toml`; a name that is not there is decided by its values.

Source: NVIDIA DCGM, dcgm_structs.h (blank values), read 2026-11.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from meritorder.bills.metrics.files import FIX, read_samples
from meritorder.bills.metrics.meanings import declaration, preference
from meritorder.bills.metrics.series import UNNAMED
from meritorder.errors import BillError, input_errors_as
from meritorder.inputs.places import LocalFile, ScratchFolder, locate
from meritorder.inputs.unpacking import unpack
from meritorder.records.findings import Confidence
from meritorder.units import MS_PER_S

_BLANK_FROM: Final = 0x7FFFFFF0
"""Smallest of DCGM's blank values, those of 32-bit integers; the others are larger."""

_NOT_SAMPLED: Final = -1.0
_FULL: Final = {"ratio": 1.0, "percent": 100.0, "sum": 100.0}
_WORDS: Final = {"ratio": "a ratio", "percent": "a percentage", "sum": "a percentage added up over GPUs"}
_TOLERANCE: Final = 1.001
_MOST_GPUS: Final = 16
_GPUS_BEHIND_A_MEAN: Final = 8
"""GPUs of which a sample may be the mean if it names none: one of them can have been used that much more."""
_INSTANT: Final = pl.Datetime("us", "UTC")
_CORRECTION: Final = "name it …_percent or …_ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class UtilizationMetrics:
    """Samples of how much machines were used.

    Args:
        samples: Columns `time` (UTC), `machine` (text, "" if not stated), `gpu` (text, "" if not stated), `utilization`
            (0 to 1, of the GPU or of the machine's GPUs together), `busiest` (0 to 1, the most that any of its GPUs can
            have been used).
        machines: Number of different machines.
        gpus: Number of different GPUs, 0 if the samples name none.
        name: Name of the metric.
        percent: Whether the file gives percentages.
        confidence: How certain the meaning of its values is.
        notes: What was decided about its values, and what was left out, one line each.
    """

    samples: pl.DataFrame
    machines: int
    gpus: int
    name: str
    percent: bool
    confidence: Confidence
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """What the values of a metric mean, how that was decided, and how certain it is."""

    kind: str
    reason: str
    confidence: Confidence


def read_utilization(path: Path) -> UtilizationMetrics:
    """Read utilization metrics.

    Raises:
        BillError: The file is missing, has no column of time or of utilization, or measures something else.
    """
    scratch = ScratchFolder()
    with input_errors_as(BillError):
        file = next(locate(path, scratch))
        plain = unpack(LocalFile(name=path.name, path=file.path), scratch)
        table = read_samples(plain)
    scratch.remove()
    return interpret(table, where=path.name)


def interpret(table: pl.DataFrame, *, where: str) -> UtilizationMetrics:
    """Return samples as shares of machines, by what their metric measures.

    Args:
        table: Columns `time` (UTC) or `at` (epoch seconds), and the others of `SAMPLES`.
        where: Where they come from, for messages.

    Raises:
        BillError: The samples hold nothing, or something else than a utilization.
    """
    if "at" in table.columns:
        instant = pl.from_epoch((pl.col("at") * MS_PER_S).cast(pl.Int64, strict=False), time_unit="ms")
        table = table.with_columns(time=instant.dt.replace_time_zone("UTC").cast(_INSTANT)).drop("at")
    table, notes = _one_metric(table)
    name = str(table["metric"].item(0)) if table.height else UNNAMED
    declared = declaration(name)
    if not declared.get("work", True):
        fix = "give DCGM_FI_DEV_GPU_UTIL or DCGM_FI_PROF_GR_ENGINE_ACTIVE"
        raise BillError(f"{name} does not measure how much a GPU works", where=where, fix=fix)
    samples, left_out = _without_blanks(table, mig=bool(declared.get("mig", True)))
    if samples.is_empty():
        why = ": ".join(["no sample has both a time and a utilization", *left_out])
        raise BillError(why, where=where, fix=FIX)
    scale = _scale(declared, samples["value"], where)
    return _scaled(samples, name, scale, (*notes, *left_out))


def _one_metric(table: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the samples of one metric, a declared one if there is any, and which others were left out."""
    names = table["metric"].unique(maintain_order=True).to_list()
    if len(names) < 2:
        return table, ()
    best = min(names, key=preference)
    others = ", ".join(name for name in names if name != best)
    return table.filter(pl.col("metric") == best), (f"{others} is left out; {best} is read",)


def _without_blanks(table: pl.DataFrame, *, mig: bool) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the samples that tell something, and how many others there were.

    Args:
        table: All samples.
        mig: Whether the metric is measured on MIG instances.
    """
    timed = table.filter(pl.col("time").is_not_null())
    blank = pl.col("value").is_null() | pl.col("value").is_nan() | (pl.col("value") == _NOT_SAMPLED)
    blank |= pl.col("value") >= _BLANK_FROM
    zero_of_mig = pl.col("mig") & (pl.col("value") == 0) & pl.lit(not mig)
    kept = timed.filter(~blank & ~zero_of_mig)
    blanks = timed.select(blank.sum()).item() + table.height - timed.height
    zeros = timed.select((~blank & zero_of_mig).sum()).item()
    notes = [f"{blanks:,} of {table.height:,} samples are blank and left out"] if blanks else []
    if zeros:
        notes.append(f"{zeros:,} zeros of MIG instances are left out: the metric is not measured there")
    return kept, tuple(notes)


def _scale(declared: dict[str, Any], values: pl.Series, where: str) -> _Scale:
    """Return what the values mean, by the name of the metric and by the values.

    Raises:
        BillError: No scale of a utilization has such values.
    """
    highest, lowest = float(values.max()), float(values.min())  # type: ignore[arg-type]
    if lowest < 0:
        raise BillError(f"a utilization is {lowest:g}, which is below 0", where=where, fix=FIX)
    by_name = str(declared.get("scale", ""))
    fits = "ratio" if highest <= _TOLERANCE else "percent" if highest <= 100 * _TOLERANCE else "sum"
    refused = by_name not in {"", "sum"} or highest > 100 * _MOST_GPUS * _TOLERANCE
    if fits == "sum" and refused:
        raise BillError(f"a utilization is {highest:g}, which is over 100 %", where=where, fix=FIX)
    if by_name == "sum":
        return _Scale(kind="sum" if fits == "sum" else "percent", reason="by its name", confidence="high")
    if by_name == "ratio" and fits == "percent":
        return _Scale(kind="percent", reason=f"a ratio by its name, but it reaches {highest:g}", confidence="low")
    fractions = bool(((values > 0) & (values < 1)).any())
    if by_name == "percent" and declared.get("mig") is False and fits == "ratio" and fractions:
        # DCGM counts whole percents: fractions up to 1 are either means of nearly idle GPUs or were divided by 100.
        return _Scale(kind="ratio", reason="a percentage by its name, but no value exceeds 1", confidence="low")
    if by_name:
        return _Scale(kind=by_name, reason="by its name", confidence="high")
    if fits == "ratio":
        return _Scale(kind="ratio", reason="because no value exceeds 1", confidence="low")
    certain: Confidence = "medium" if fits == "percent" else "low"
    return _Scale(kind=fits, reason=f"because it reaches {highest:g}", confidence=certain)


def _scaled(samples: pl.DataFrame, name: str, scale: _Scale, notes: tuple[str, ...]) -> UtilizationMetrics:
    """Return the samples as shares, with what was decided about them."""
    share = pl.col("value") / _FULL[scale.kind]
    gpus_of_one = 1
    if scale.kind == "sum":
        gpus_of_one = _gpus(float(samples["value"].max()))  # type: ignore[arg-type]
    correction = "" if scale.confidence == "high" else f"; if that is wrong, {_CORRECTION}"
    decided = f"{name} is read as {_WORDS[scale.kind]}, {scale.reason}{correction}"
    if scale.kind == "sum":
        decided += f": machines of {gpus_of_one} GPUs"
    gpus = samples.filter(pl.col("gpu") != "").select(pl.struct("machine", "gpu").n_unique()).item()
    if gpus > 1 and not samples["machine"].max():
        notes = (f"its {gpus} GPUs count as one machine, because no label names the machine", *notes)
    return UtilizationMetrics(
        samples=samples.select(
            "time",
            "machine",
            "gpu",
            utilization=(share / gpus_of_one).clip(0, 1),
            busiest=(share if gpus or scale.kind == "sum" else share * _GPUS_BEHIND_A_MEAN).clip(0, 1),
        ),
        machines=samples["machine"].n_unique(),
        gpus=gpus,
        name=name,
        percent=scale.kind != "ratio",
        confidence=scale.confidence,
        notes=(decided, *notes),
    )


def _gpus(highest: float) -> int:
    """Return the smallest usual number of GPUs in a machine whose percentages add up to this."""
    return next((gpus for gpus in (2, 4, 8) if highest <= 100 * _TOLERANCE * gpus), _MOST_GPUS)
