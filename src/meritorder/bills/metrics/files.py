"""Samples of metrics from files: CSV of any layout, and the JSON that monitoring systems answer.

A CSV has a column of time and either one of utilization, optionally with those of the machine and the GPU, or a column
for each series, as Grafana exports "Series joined by time".

Sources, read 2026-11: Prometheus HTTP API, "Range queries", prometheus.io/docs/prometheus/latest/querying/api/; Amazon
CloudWatch API Reference, GetMetricData and GetMetricStatistics; Grafana, "Inspect a panel" and "Data frames",
grafana.com/docs.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import polars as pl

from meritorder.bills.columns import SourceColumns
from meritorder.bills.metrics.meanings import declaration, preference
from meritorder.bills.metrics.series import CLUSTERS, GPUS, MACHINES, MIG, SAMPLES, Series, by_labels, by_legend, first
from meritorder.errors import BillError
from meritorder.inputs import json_records
from meritorder.inputs.csv_header import read_header
from meritorder.inputs.times import decide_times
from meritorder.inputs.unpacking import READ_ERRORS, PlainFile
from meritorder.units import MS_PER_S

FIX: Final = "give a CSV with columns time, machine, utilization, or the JSON of a Prometheus range query"
_TIMES: Final = ("time", "timestamp", "datetime", "date", "ts", "period_start", "label", "full_label")
_VALUES: Final = (
    *("utilisation", "utilization", "gpu_utilisation", "gpu_utilization", "gpuutilization", "gpu_util"),
    *("dcgm_fi_dev_gpu_util", "average", "mean", "value"),
)
_METRICS: Final = ("metric", "metric_name", "__name__")
_LEGENDS: Final = (*_METRICS, "series", "legend", "field")
_STATISTICS: Final = ("Average", "Maximum", "Minimum")
# A mean without its unit would be taken by its values alone.
_PERCENT: Final = " (%)"
_UNIT: Final = r"\s*(%|percent)?\s*$|^\s+"

Sample = tuple[object, str, str, str, bool, object]


def read_samples(file: PlainFile) -> pl.DataFrame:
    """Return the samples of a file: `time` (UTC), and the columns of `SAMPLES` but `at`.

    Raises:
        BillError: The file has no column of time or of utilization, or is no known answer.
    """
    return _of_json(file) if json_records.is_json(file.head) else _of_csv(file)


def _of_json(file: PlainFile) -> pl.DataFrame:
    try:
        answer: Any = json.loads(file.path.read_bytes())
        rows = [(str(at), *labels, float(str(value))) for at, *labels, value in _rows(answer)]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        what = "not the answer of Prometheus, CloudWatch or Grafana"
        raise BillError(what, where=file.name, fix=FIX) from error
    if not rows:
        raise BillError("the query found no series", where=file.name, fix=FIX)
    table = pl.DataFrame(rows, schema=SAMPLES | {"at": pl.String}, orient="row")
    seconds = pl.col("at").cast(pl.Float64, strict=False)
    if table.select(seconds.is_not_null().all()).item():
        return table.with_columns(at=seconds)
    style = decide_times(table.lazy(), "at", where=file.name)
    return table.with_columns(time=style.instants(pl.col("at"), pl.String())).drop("at")


def _rows(answer: Any) -> Iterator[Sample]:  # noqa: ANN401  (any JSON)
    """Yield the samples of an answer, each with its series."""
    fields = answer if isinstance(answer, dict) else {}
    if "MetricDataResults" in fields:
        yield from _of_metric_data(fields["MetricDataResults"])
    elif "Datapoints" in fields:
        yield from _of_statistics(fields)
    elif "results" in fields:
        frames = [frame for result in fields["results"].values() for frame in result["frames"]]
        yield from (row for frame in frames for row in _of_frame(frame))
    else:
        for series in fields["data"]["result"] if fields else answer:
            labels = by_labels(series["metric"])
            yield from ((float(at), *labels, value) for at, value in series.get("values") or [series["value"]])


def _of_metric_data(results: Sequence[dict[str, Any]]) -> Iterator[Sample]:
    """Yield the samples of `aws cloudwatch get-metric-data`; series of one label are GPUs of one machine."""
    labels = [str(result.get("Label") or result["Id"]) for result in results]
    for result, label in zip(results, labels, strict=True):
        series = by_legend(label)
        if labels.count(label) > 1 and not series.gpu and result.get("Id"):
            series = series._replace(gpu=str(result["Id"]))
        yield from ((at, *series, value) for at, value in zip(result["Timestamps"], result["Values"], strict=True))


def _of_statistics(answer: dict[str, Any]) -> Iterator[Sample]:
    """Yield the samples of `aws cloudwatch get-metric-statistics`, whose unit is stated."""
    series = by_legend(str(answer.get("Label", "")))
    for point in answer["Datapoints"]:
        (statistic, *_) = [name for name in _STATISTICS if name in point]
        unit = _PERCENT if point.get("Unit") == "Percent" and not declaration(series.metric) else ""
        yield point["Timestamp"], *series._replace(metric=f"{series.metric}{unit}"), point[statistic]


def _of_frame(frame: dict[str, Any]) -> Iterator[Sample]:
    """Yield the samples of a data frame of Grafana, whose times are in milliseconds."""
    fields, columns = frame["schema"]["fields"], frame["data"]["values"]
    (times, *_) = [column for field, column in zip(fields, columns, strict=True) if field.get("type") == "time"]
    for field, values in zip(fields, columns, strict=True):
        if field.get("type") == "number":
            labels = field.get("labels") or {}
            legend = (
                (field.get("config") or {}).get("displayNameFromDS") or frame["schema"].get("name") or field["name"]
            )
            series = by_labels({"__name__": field["name"]} | labels) if labels else by_legend(str(legend))
            yield from (
                (at / MS_PER_S, *series, value) for at, value in zip(times, values, strict=True) if value is not None
            )


def _of_csv(file: PlainFile) -> pl.DataFrame:
    header = read_header(file)
    try:
        raw = pl.read_csv(
            file.path, infer_schema=False, separator=header.separator, skip_lines=header.line - 1, raise_if_empty=False
        )
    except READ_ERRORS as error:
        raise BillError(f"not a readable CSV: {str(error).splitlines()[0]}", where=file.name, fix=FIX) from error
    columns = {re.sub(r"[ .]", "_", name.strip().lower()): name for name in reversed(raw.columns)}
    time = first(columns, _TIMES)
    values = _values(raw, columns, time)
    if time is None or not values:
        missing = "time" if time is None else "utilization"
        raise BillError(f"no column of {missing} among {', '.join(raw.columns[:6])}", where=file.name, fix=FIX)
    plain = raw.with_columns(pl.col(values).str.replace_all(_UNIT, ""))
    fields = SourceColumns(plain.schema, table=plain.lazy(), where=file.name)
    instant = decide_times(raw.lazy(), time, where=f"{file.name}, column {time}").instants(pl.col(time), pl.String())
    cluster, machine, gpu = (first(columns, names) for names in (CLUSTERS, MACHINES, GPUS))
    mig = [columns[name] for name in MIG if name in columns]
    named = [pl.col(name) for name in (cluster, machine) if name]
    legend = first(columns, _LEGENDS)
    wide = len(values) > 1 or "{" in values[0] or not (legend or named or _is_value(values[0], columns))
    parts: list[pl.DataFrame] = []
    for value in values:
        series = by_legend(value) if wide else Series(value.strip(), "", "", mig=False)
        table = plain.select(
            time=instant,
            metric=pl.lit(series.metric + (_PERCENT if _in_percent(raw[value], series.metric) else "")),
            machine=pl.concat_str(named, separator="/", ignore_nulls=True) if named else pl.lit(series.machine),
            gpu=pl.col(gpu).fill_null("") if gpu else pl.lit(series.gpu),
            mig=pl.any_horizontal([pl.col(name).fill_null("") != "" for name in mig]) if mig else pl.lit(series.mig),
            value=fields.number(value),
            legend=pl.col(legend) if legend else pl.lit(None, pl.String),
        )
        parts.append(table)
    samples = pl.concat(parts)
    return (_by_legends(samples, legend) if legend else samples).drop("legend")


def _values(raw: pl.DataFrame, columns: dict[str, str], time: str | None) -> list[str]:
    """Return the columns of utilization: those of the best known metric, one of a usual name, or all with numbers."""
    metrics = {name: by_legend(name).metric if "{" in name else name for name in raw.columns if name != time}
    declared = {name: preference(metric) for name, metric in metrics.items() if declaration(metric)}
    works = {name: place for name, place in declared.items() if declaration(metrics[name]).get("work", True)}
    if works:
        return [name for name, place in works.items() if place == min(works.values())]
    usual = first(columns, _VALUES)
    if usual:
        return [usual]
    labels = {columns[name] for names in (CLUSTERS, MACHINES, GPUS, MIG, _LEGENDS) for name in names if name in columns}
    numbers = [name for name in metrics if name not in {*labels, *declared} and _holds_numbers(raw[name])]
    return numbers or list(declared)[:1]


def _is_value(name: str, columns: dict[str, str]) -> bool:
    return name == first(columns, _VALUES) or bool(declaration(name))


def _holds_numbers(column: pl.Series) -> bool:
    present = column.drop_nulls()
    numbers = present.str.replace_all(_UNIT, "").str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    return bool(present.len()) and numbers.null_count() * 2 < present.len()


def _in_percent(column: pl.Series, metric: str) -> bool:
    return not declaration(metric) and bool(column.str.contains("%", literal=True).any())


def _by_legends(samples: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return samples in rows of several series, with what the legend of each says beside the columns of its row."""
    texts = samples["legend"].drop_nulls().unique().to_list()
    are_metrics = column.strip().lower() in _METRICS
    legends = {
        text: Series(text, "", "", mig=False) if are_metrics and "{" not in text else by_legend(text) for text in texts
    }

    def said(place: int) -> pl.Expr:
        return pl.col("legend").replace_strict({text: series[place] for text, series in legends.items()}, default=None)

    return samples.with_columns(
        metric=pl.coalesce(said(0), "metric"),
        machine=pl.when(pl.col("machine") == "").then(said(1).fill_null("")).otherwise("machine"),
        gpu=pl.when(pl.col("gpu") == "").then(said(2).fill_null("")).otherwise("gpu"),
        mig=pl.col("mig") | said(3).fill_null(value=False),
    )
