"""Utilization metrics beside a bill: how much of each machine was used over time, from CSV or a Prometheus export.

A CSV has a column of time, one of utilization, and optionally one of the machine. A Prometheus export is the JSON
answer of `/api/v1/query_range`: one series for each set of labels.

Sources, read 2026-11: Prometheus HTTP API, "Range queries", prometheus.io/docs/prometheus/latest/querying/api/; NVIDIA
DCGM Exporter, DCGM_FI_DEV_GPU_UTIL (per cent); Amazon CloudWatch, GPUUtilization (per cent).
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from meritorder.bills.columns import SourceColumns
from meritorder.errors import BillError
from meritorder.units import MS_PER_S

_TIMES: Final = ("time", "timestamp", "datetime", "date", "ts", "period_start")
_MACHINES: Final = (
    *("machine", "resource", "resource_id", "instance", "instance_id", "instanceid", "host", "hostname"),
    *("endpoint", "endpointname", "endpoint_name", "node", "pod", "kubernetes_node", "gpu", "uuid"),
)
_VALUES: Final = (
    *("utilisation", "utilization", "gpu_utilisation", "gpu_utilization", "gpuutilization", "gpu_util"),
    *("dcgm_fi_dev_gpu_util", "average", "mean", "value"),
)
_PERCENT: Final = 100.0
_INSTANT: Final = pl.Datetime("us", "UTC")
_FIX: Final = "give a CSV with columns time, machine, utilization, or the JSON of a Prometheus range query"


@dataclass(frozen=True, slots=True, kw_only=True)
class UtilizationMetrics:
    """Samples of how much machines were used.

    Args:
        samples: Columns `time` (UTC), `machine` (text, "" if not stated), `utilization` (0 to 1).
        machines: Number of different machines.
        name: Name of the metric.
        percent: Whether the file gives percentages.
    """

    samples: pl.DataFrame
    machines: int
    name: str
    percent: bool


def read_utilization(path: Path) -> UtilizationMetrics:
    """Read utilization metrics.

    Raises:
        BillError: The file is missing, or has no column of time or of utilization.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BillError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    is_json = content.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in {b"{", b"["}
    table, name = _prometheus(content, path) if is_json else _csv(content, path)
    samples = table.drop_nulls("time").filter(pl.col("utilization").is_not_null() & pl.col("utilization").is_finite())
    if samples.is_empty():
        raise BillError("no sample has both a time and a utilization", where=path.name, fix=_FIX)
    if samples["utilization"].min() < 0:  # type: ignore[operator]
        raise BillError("a utilization is below 0", where=path.name, fix=_FIX)
    highest = float(samples["utilization"].max())  # type: ignore[arg-type]
    percent = highest > 1.0 or "percent" in name.lower() or "dcgm" in name.lower()
    if highest > _PERCENT:
        raise BillError(f"a utilization is {highest:g}, which is over 100 %", where=path.name, fix=_FIX)
    if percent:
        samples = samples.with_columns(pl.col("utilization") / _PERCENT)
    return UtilizationMetrics(samples=samples, machines=samples["machine"].n_unique(), name=name, percent=percent)


def _csv(content: bytes, path: Path) -> tuple[pl.DataFrame, str]:
    try:
        raw = pl.read_csv(content, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise BillError(f"not a readable CSV: {str(error).splitlines()[0]}", where=path.name, fix=_FIX) from error
    normalized = {name.strip().lower().replace(" ", "_"): name for name in reversed(raw.columns)}
    time = next((normalized[name] for name in _TIMES if name in normalized), None)
    value = next((normalized[name] for name in _VALUES if name in normalized), None)
    machine = next((normalized[name] for name in _MACHINES if name in normalized), None)
    if time is None or value is None:
        missing = "time" if time is None else "utilization"
        raise BillError(f"no column of {missing} among {', '.join(raw.columns[:6])}", where=path.name, fix=_FIX)
    fields = SourceColumns(raw.schema)
    table = raw.select(
        time=fields.time(time),
        machine=pl.col(machine).fill_null("") if machine else pl.lit(""),
        utilization=pl.col(value).str.strip_chars("% ").cast(pl.Float64, strict=False),
    )
    return table, value


def _prometheus(content: bytes, path: Path) -> tuple[pl.DataFrame, str]:
    try:
        answer: Any = json.loads(content)
        result = answer["data"]["result"] if isinstance(answer, dict) else answer
        rows = [
            (float(at), _machine(series["metric"]), float(value))
            for series in result
            for at, value in series.get("values") or [series["value"]]
        ]
        name = str(result[0]["metric"].get("__name__", "utilization")) if result else ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BillError("not the answer of a Prometheus range query", where=path.name, fix=_FIX) from error
    if not rows:
        raise BillError("the range query found no series", where=path.name, fix=_FIX)
    table = pl.DataFrame(rows, schema={"at": pl.Float64, "machine": pl.String, "utilization": pl.Float64}, orient="row")
    instant = pl.from_epoch((pl.col("at") * MS_PER_S).cast(pl.Int64), time_unit="ms").dt.replace_time_zone("UTC")
    return table.select("machine", "utilization", time=instant.cast(_INSTANT)), name


def _machine(labels: dict[str, str]) -> str:
    """Return the labels that name the machine of a series, joined."""
    lower = {name.lower(): str(value) for name, value in labels.items()}
    return "/".join(lower[name] for name in _MACHINES if name in lower)
