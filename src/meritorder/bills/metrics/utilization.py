"""Utilization metrics beside a bill: how much of each machine was used over time, from CSV or a Prometheus export.

A CSV has a column of time, one of utilization, and optionally those of the machine and the GPU. A Prometheus export is
the JSON answer of `/api/v1/query_range`: one series for each set of labels. What a metric measures is declared in
`gpu_metrics.toml`; a name that is not there is decided by its values.

Sources, read 2026-11: Prometheus HTTP API, "Range queries", prometheus.io/docs/prometheus/latest/querying/api/; NVIDIA
DCGM, dcgm_structs.h (blank values).
"""

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import polars as pl

from meritorder.bills.columns import SourceColumns
from meritorder.errors import BillError, input_errors_as
from meritorder.inputs import json_records
from meritorder.inputs.csv_header import read_header
from meritorder.inputs.places import LocalFile, ScratchFolder, locate
from meritorder.inputs.unpacking import READ_ERRORS, PlainFile, unpack
from meritorder.records.findings import Confidence
from meritorder.units import MS_PER_S

_TIMES: Final = ("time", "timestamp", "datetime", "date", "ts", "period_start")
_CLUSTERS: Final = ("cluster", "cluster_name", "k8s_cluster")
_MACHINES: Final = (
    *("machine", "resource_id", "resource", "instance_id", "instanceid", "hostname", "host", "nodename"),
    *("node", "kubernetes_node", "endpointname", "endpoint_name", "endpoint", "instance", "pod"),
)
_GPUS: Final = ("uuid", "gpu_uuid", "gpu", "index", "gpu_index", "device", "minor_number")
_MIG: Final = ("gpu_i_id", "gpu_i_profile")
_VALUES: Final = (
    *("utilisation", "utilization", "gpu_utilisation", "gpu_utilization", "gpuutilization", "gpu_util"),
    *("dcgm_fi_dev_gpu_util", "average", "mean", "value"),
)
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
_FIX: Final = "give a CSV with columns time, machine, utilization, or the JSON of a Prometheus range query"
_CORRECTION: Final = "name it …_percent or …_ratio"
SAMPLES: Final = {
    "at": pl.Float64,
    "metric": pl.String,
    "machine": pl.String,
    "gpu": pl.String,
    "mig": pl.Boolean,
    "value": pl.Float64,
}
"""Columns of samples as they are read: epoch seconds, metric, machine, GPU, whether it is a MIG instance, value."""


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


@cache
def _declared() -> list[dict[str, Any]]:
    text = files("meritorder.bills.metrics").joinpath("gpu_metrics.toml").read_text(encoding="utf-8")
    table: list[dict[str, Any]] = tomllib.loads(text)["metric"]
    return table


def _declaration(name: str) -> dict[str, Any]:
    """Return what is declared of a metric, empty if nothing is."""
    return next((metric for metric in _declared() if re.fullmatch(metric["pattern"], name.strip())), {})


def _preference(name: str) -> int:
    """Return the place of a metric in the order in which they are preferred: as declared, then those not declared."""
    declared = _declaration(name)
    if not declared.get("work", True):
        return len(_declared()) + 1
    return _declared().index(declared) if declared else len(_declared())


def read_utilization(path: Path) -> UtilizationMetrics:
    """Read utilization metrics.

    Raises:
        BillError: The file is missing, has no column of time or of utilization, or measures something else.
    """
    scratch = ScratchFolder()
    with input_errors_as(BillError):
        file = next(locate(path, scratch))
        plain = unpack(LocalFile(name=path.name, path=file.path), scratch)
        table = _prometheus(plain) if json_records.is_json(plain.head) else _csv(plain)
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
    name = str(table["metric"].item(0)) if table.height else "utilization"
    declared = _declaration(name)
    if not declared.get("work", True):
        fix = "give DCGM_FI_DEV_GPU_UTIL or DCGM_FI_PROF_GR_ENGINE_ACTIVE"
        raise BillError(f"{name} does not measure how much a GPU works", where=where, fix=fix)
    samples, left_out = _without_blanks(table, mig=bool(declared.get("mig", True)))
    if samples.is_empty():
        why = ": ".join(["no sample has both a time and a utilization", *left_out])
        raise BillError(why, where=where, fix=_FIX)
    scale = _scale(declared, samples["value"], where)
    return _scaled(samples, name, scale, (*notes, *left_out))


def _one_metric(table: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the samples of one metric, a declared one if there is any, and which others were left out."""
    names = table["metric"].unique(maintain_order=True).to_list()
    if len(names) < 2:
        return table, ()
    best = min(names, key=_preference)
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
        raise BillError(f"a utilization is {lowest:g}, which is below 0", where=where, fix=_FIX)
    by_name = str(declared.get("scale", ""))
    fits = "ratio" if highest <= _TOLERANCE else "percent" if highest <= 100 * _TOLERANCE else "sum"
    refused = by_name not in {"", "sum"} or highest > 100 * _MOST_GPUS * _TOLERANCE
    if fits == "sum" and refused:
        raise BillError(f"a utilization is {highest:g}, which is over 100 %", where=where, fix=_FIX)
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


def _csv(file: PlainFile) -> pl.DataFrame:
    header = read_header(file)
    try:
        raw = pl.read_csv(
            file.path, infer_schema=False, separator=header.separator, skip_lines=header.line - 1, raise_if_empty=False
        )
    except READ_ERRORS as error:
        raise BillError(f"not a readable CSV: {str(error).splitlines()[0]}", where=file.name, fix=_FIX) from error
    columns = {re.sub(r"[ .]", "_", name.strip().lower()): name for name in reversed(raw.columns)}
    time = _first(columns, _TIMES)
    declared = sorted(filter(_declaration, raw.columns), key=_preference)
    value = next(iter(declared), None)
    if value is None or not _declaration(value).get("work", True):
        value = _first(columns, _VALUES) or value
    if time is None or value is None:
        missing = "time" if time is None else "utilization"
        raise BillError(f"no column of {missing} among {', '.join(raw.columns[:6])}", where=file.name, fix=_FIX)
    fields = SourceColumns(raw.schema, table=raw.lazy(), where=file.name)
    cluster, machine, gpu = (_first(columns, names) for names in (_CLUSTERS, _MACHINES, _GPUS))
    mig = [columns[name] for name in _MIG if name in columns]
    named = [pl.col(name) for name in (cluster, machine) if name]
    in_percent = not _declaration(value) and bool(raw[value].str.contains("%", literal=True).any())
    return raw.select(
        time=fields.time(time),
        metric=pl.lit(f"{value.strip()} (%)" if in_percent else value.strip()),
        machine=pl.concat_str(named, separator="/", ignore_nulls=True) if named else pl.lit(""),
        gpu=pl.col(gpu).fill_null("") if gpu else pl.lit(""),
        mig=pl.any_horizontal([pl.col(name).fill_null("") != "" for name in mig]) if mig else pl.lit(value=False),
        value=pl.col(value).str.strip_chars("% ").cast(pl.Float64, strict=False),
    )


def _first(columns: dict[str, str], names: Sequence[str]) -> str | None:
    return next((columns[name] for name in names if name in columns), None)


def _prometheus(file: PlainFile) -> pl.DataFrame:
    try:
        answer: Any = json.loads(file.path.read_bytes())
        result = answer["data"]["result"] if isinstance(answer, dict) else answer
        rows = [
            (float(at), *labels, float(value))
            for series in result
            for labels in [_labels(series["metric"])]
            for at, value in series.get("values") or [series["value"]]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BillError("not the answer of a Prometheus range query", where=file.name, fix=_FIX) from error
    if not rows:
        raise BillError("the range query found no series", where=file.name, fix=_FIX)
    return pl.DataFrame(rows, schema=SAMPLES, orient="row")


def _labels(labels: dict[str, str]) -> tuple[str, str, str, bool]:
    """Return the metric, the machine, the GPU, and whether it is a MIG instance."""
    lower = {name.lower(): str(value) for name, value in labels.items()}
    cluster, machine, gpu = (_first(lower, names) for names in (_CLUSTERS, _MACHINES, _GPUS))
    mig = [lower[name] for name in _MIG if lower.get(name)]
    place = "/".join(part for part in (cluster, machine) if part)
    return lower.get("__name__", "utilization"), place, "/".join([gpu or "", *mig]), bool(mig)
