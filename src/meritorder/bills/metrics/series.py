"""What a series of samples says of itself, by labels or by the text of a legend: its metric, machine and GPU."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import polars as pl

from meritorder.bills.metrics.meanings import declaration

CLUSTERS: Final = ("cluster", "cluster_name", "k8s_cluster")
MACHINES: Final = (
    *("machine", "resource_id", "resource", "instance_id", "instanceid", "hostname", "host", "nodename"),
    *("node", "kubernetes_node", "endpointname", "endpoint_name", "endpoint", "instance", "pod"),
)
GPUS: Final = ("uuid", "gpu_uuid", "gpu", "index", "gpu_index", "device", "minor_number")
MIG: Final = ("gpu_i_id", "gpu_i_profile")
SAMPLES: Final = {
    "at": pl.Float64,
    "metric": pl.String,
    "machine": pl.String,
    "gpu": pl.String,
    "mig": pl.Boolean,
    "value": pl.Float64,
}
"""Columns of samples as they are read: epoch seconds, metric, machine, GPU, whether it is a MIG instance, value."""

UNNAMED: Final = "utilization"
"""Name of a metric whose samples name none."""

# Prometheus: `metric{label="value", ...}`; either part may be missing.
_LABELED: Final = re.compile(r"(?P<name>[^{]*)\{(?P<labels>.*)\}\s*")
_LABEL: Final = re.compile(r'([\w.]+)\s*=\s*"((?:[^"\\]|\\.)*)"')
_GPU: Final = re.compile(r"(?i)\bgpu[ _:#-]*(\d+)\b")
# Names that Grafana gives to series without a legend.
_NO_NAME: Final = re.compile(r"(?i)([A-Z]-series\d*|value( #[A-Z])?|[A-Z])")
_EDGES: Final = " /|,:;()[]-_"


class Series(NamedTuple):
    """Metric, machine and GPU of a series, "" if it does not name them, and whether it is of a MIG instance."""

    metric: str
    machine: str
    gpu: str
    mig: bool


def by_labels(labels: Mapping[str, object]) -> Series:
    """Return what labels say."""
    lower = {name.lower(): str(value) for name, value in labels.items()}
    cluster, machine, gpu = (first(lower, names) for names in (CLUSTERS, MACHINES, GPUS))
    mig = [lower[name] for name in MIG if lower.get(name)]
    place = "/".join(part for part in (cluster, machine) if part)
    return Series(lower.get("__name__") or UNNAMED, place, "/".join([gpu or "", *mig]), bool(mig))


def by_legend(text: str) -> Series:
    """Return what a legend says: labels as Prometheus writes them, or words for metric, machine and GPU."""
    # Quotes in the header of a CSV are doubled.
    labeled = _LABELED.fullmatch(text.strip().replace('""', '"'))
    if labeled:
        name = {"__name__": labeled["name"].strip()} if labeled["name"].strip() else {}
        return by_labels(dict(_LABEL.findall(labeled["labels"])) | name)
    words = text.split()
    metric = next((word for word in words if declaration(word)), "")
    rest = " ".join(word for word in words if word != metric)
    gpu = _GPU.search(rest)
    machine = (rest[: gpu.start()] + rest[gpu.end() :] if gpu else rest).strip(_EDGES)
    return Series(metric or UNNAMED, "" if _NO_NAME.fullmatch(machine) else machine, gpu[1] if gpu else "", mig=False)


def first(columns: Mapping[str, str], names: Sequence[str]) -> str | None:
    """Return the first of some names that there is."""
    return next((columns[name] for name in names if name in columns), None)
