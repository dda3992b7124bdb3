"""The same samples from every export: machine h1 at 90 and 50 %, h2 at 10 and 30 %, on 2026-11-02 at 9 and 10."""

import json
from pathlib import Path

import pytest

from meritorder.bills.metrics.utilization import UtilizationMetrics, read_utilization
from meritorder.errors import BillError

# As `date -u -d 2026-11-02T09:00:00 +%s` gives.
NINE_S = 1_793_610_000
TIMES = ("2026-11-02T09:00:00Z", "2026-11-02T10:00:00Z")
VALUES = {"h1": (90, 50), "h2": (10, 30)}


def read(tmp_path: Path, text: str) -> UtilizationMetrics:
    path = tmp_path / "metrics"
    path.write_text(text)
    return read_utilization(path)


def samples_of(metrics: UtilizationMetrics) -> list[tuple[object, ...]]:
    seconds = metrics.samples["time"].dt.timestamp("ms") // 1000 - NINE_S
    table = metrics.samples.with_columns(at=seconds).sort("machine", "gpu", "at")
    return table.select("machine", "at", "utilization").rows()


EXPECTED = [("h1", 0, 0.9), ("h1", 3600, 0.5), ("h2", 0, 0.1), ("h2", 3600, 0.3)]


def joined(*names: str, first: str = "Time", unit: str = "") -> str:
    """Return "Series joined by time", a column for each series."""
    cells = [",".join([time, *(f"{VALUES[name][place]}{unit}" for name in VALUES)]) for place, time in enumerate(TIMES)]
    return "\n".join([",".join([first, *(json.dumps(name).replace('\\"', '""') for name in names)]), *cells])


GRAFANA_FRAME = {
    "results": {
        "A": {
            "frames": [
                {
                    "schema": {
                        "name": name,
                        "fields": [
                            {"name": "Time", "type": "time"},
                            {
                                "name": "Value",
                                "type": "number",
                                "labels": {"__name__": "DCGM_FI_DEV_GPU_UTIL", "Hostname": name},
                            },
                        ],
                    },
                    "data": {"values": [[NINE_S * 1000, (NINE_S + 3600) * 1000], list(values)]},
                }
                for name, values in VALUES.items()
            ]
        }
    }
}
CLOUDWATCH = {
    "MetricDataResults": [
        {"Id": f"m{name}", "Label": f"{name} nvidia_smi_utilization_gpu", "Timestamps": TIMES, "Values": values}
        for name, values in VALUES.items()
    ],
    "Messages": [],
}


@pytest.mark.parametrize(
    "text",
    [
        joined('DCGM_FI_DEV_GPU_UTIL{Hostname="h1", gpu="0"}', 'DCGM_FI_DEV_GPU_UTIL{Hostname="h2", gpu="0"}'),
        joined('{__name__="DCGM_FI_DEV_GPU_UTIL", instance="h1"}', '{__name__="DCGM_FI_DEV_GPU_UTIL", instance="h2"}'),
        "sep=,\n" + joined("h1", "h2", unit="%"),
        joined("h1 gpu 0", "h2 gpu 0", unit=" %"),
        joined("h1", "h2").replace(*TIMES[:1], str(NINE_S * 1000)).replace(TIMES[1], str((NINE_S + 3600) * 1000)),
        '"Series";"Time";"Value"\n'
        + "\n".join(
            f'"{name}";"{TIMES[at]}";{value},0' for name, pair in VALUES.items() for at, value in enumerate(pair)
        ),
        "Time,Metric,Value\n"
        + "\n".join(
            f'{TIMES[at]},"DCGM_FI_DEV_GPU_UTIL{{Hostname=""{name}""}}",{value}'
            for name, pair in VALUES.items()
            for at, value in enumerate(pair)
        ),
        "time,host,metric,value\n"
        + "\n".join(
            f"{TIMES[at]},{name},{metric},{value * factor}"
            for name, pair in VALUES.items()
            for at, value in enumerate(pair)
            for metric, factor in (("gpu_percent", 1), ("memory_used", 1000))
        ),
        json.dumps(GRAFANA_FRAME),
        json.dumps(CLOUDWATCH, indent=4),
        json.dumps(
            {
                "data": {
                    "result": [
                        {
                            "metric": {"__name__": "DCGM_FI_DEV_GPU_UTIL", "Hostname": name},
                            "values": [[NINE_S + 3600 * at, str(value)] for at, value in enumerate(pair)],
                        }
                        for name, pair in VALUES.items()
                    ]
                }
            }
        ),
    ],
)
def test_every_export_has_the_same_samples(tmp_path: Path, text: str) -> None:
    metrics = read(tmp_path, text)
    assert samples_of(metrics) == EXPECTED
    assert (metrics.machines, metrics.percent) == (2, True)


def test_statistics_state_their_unit(tmp_path: Path) -> None:
    """One percent is no ratio, though no value exceeds 1."""
    points = [{"Timestamp": time, "Average": 1.0, "Unit": "Percent"} for time in TIMES]
    metrics = read(tmp_path, json.dumps({"Label": "gpu", "Datapoints": points}))
    assert metrics.samples["utilization"].to_list() == [0.01, 0.01]
    assert metrics.confidence == "high"
    assert metrics.notes[0] == "utilization (%) is read as a percentage, by its name"


def test_series_of_one_label_are_gpus(tmp_path: Path) -> None:
    """Nothing tells their machines apart, and a machine is idle only if all of its GPUs are."""
    results = [
        {"Id": f"m{place}", "Label": "nvidia_smi_utilization_gpu", "Timestamps": TIMES[:1], "Values": [place]}
        for place in range(2)
    ]
    metrics = read(tmp_path, json.dumps({"MetricDataResults": results}))
    assert (metrics.machines, metrics.gpus) == (1, 2)


def test_gpus_of_a_legend_share_a_machine(tmp_path: Path) -> None:
    metrics = read(tmp_path, joined("GPU 0", "GPU 1"))
    assert (metrics.machines, metrics.gpus) == (1, 2)
    assert any("its 2 GPUs count as one machine" in note for note in metrics.notes)


def test_ratios_of_series_are_told(tmp_path: Path) -> None:
    text = 'Time,"{__name__=""DCGM_FI_PROF_GR_ENGINE_ACTIVE"", Hostname=""h1""}"\n2026-11-02 09:00:00,0.9\n'
    metrics = read(tmp_path, text)
    assert metrics.samples["utilization"].to_list() == [0.9]
    assert metrics.notes[0] == "DCGM_FI_PROF_GR_ENGINE_ACTIVE is read as a ratio, by its name"


def test_series_of_other_metrics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BillError, match="DCGM_FI_DEV_FB_USED does not measure how much a GPU works"):
        read(tmp_path, joined('DCGM_FI_DEV_FB_USED{Hostname="h1"}', 'DCGM_FI_DEV_FB_USED{Hostname="h2"}'))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"MetricDataResults": [{"Label": "x", "Timestamps": [1, 2], "Values": [1]}]}),
        json.dumps({"Datapoints": [{"Timestamp": 1, "SampleCount": 3}]}),
        json.dumps({"results": {"A": {"frames": [{"schema": {"fields": []}, "data": {"values": []}}]}}}),
        json.dumps({"MetricDataResults": 3}),
        json.dumps({"Label": "x", "Datapoints": []}),
    ],
)
def test_broken_answers_are_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(BillError) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
