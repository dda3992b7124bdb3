"""Utilization metrics from CSV and from Prometheus."""

import gzip
import json
from pathlib import Path

import pytest

from meritorder.bills.metrics.utilization import UtilizationMetrics, read_utilization
from meritorder.errors import BillError


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_percentages_become_shares(tmp_path: Path) -> None:
    text = "Time,Instance ID,GPU Util\n2026-10-05T00:00:00Z,a,50\n2026-10-05T01:00:00Z,b,25 %\n"
    metrics = read_utilization(written(tmp_path / "m.csv", text))
    assert metrics.samples["utilization"].to_list() == [0.5, 0.25]
    assert metrics.samples["machine"].to_list() == ["a", "b"]
    assert (metrics.machines, metrics.name, metrics.percent) == (2, "GPU Util (%)", True)
    assert metrics.confidence == "high"


def test_shares_stay_shares(tmp_path: Path) -> None:
    metrics = read_utilization(written(tmp_path / "m.csv", "time,value\n2026-10-05,1.0\n2026-10-06,0.5\n"))
    assert metrics.samples["utilization"].to_list() == [1.0, 0.5]
    assert (metrics.machines, metrics.percent) == (1, False)
    assert metrics.samples["machine"].to_list() == ["", ""]


def test_dcgm_is_always_in_percent(tmp_path: Path) -> None:
    metrics = read_utilization(written(tmp_path / "m.csv", "time,DCGM_FI_DEV_GPU_UTIL\n2026-10-05,1\n"))
    assert metrics.samples["utilization"].to_list() == [0.01]


def test_samples_without_value_are_left_out(tmp_path: Path) -> None:
    text = "time,value\n2026-10-05,0.5\n2026-10-06,nan\n2026-10-07,\n2026-10-08,n/a\nnever,0.1\n"
    assert read_utilization(written(tmp_path / "m.csv", text)).samples.height == 1


def test_prometheus_series_are_machines(tmp_path: Path) -> None:
    series = [
        {"metric": {"__name__": "gpu", "Hostname": "h1", "gpu": str(gpu)}, "values": [[0, "0.5"], [300.5, "0.7"]]}
        for gpu in range(2)
    ]
    path = tmp_path / "range.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"data": {"result": series}}).encode()))
    metrics = read_utilization(path)
    assert (metrics.machines, metrics.gpus) == (1, 2)
    assert set(metrics.samples["machine"]) == {"h1"}
    assert set(metrics.samples["gpu"]) == {"0", "1"}
    assert metrics.samples["time"].dt.timestamp("ms").to_list() == [0, 300_500] * 2
    assert metrics.name == "gpu"


def test_instant_query_has_one_value(tmp_path: Path) -> None:
    path = written(tmp_path / "m.json", json.dumps([{"metric": {}, "value": [60, "0.25"]}]))
    assert read_utilization(path).samples["utilization"].to_list() == [0.25]


@pytest.mark.parametrize(("value", "refused"), [("100", False), ("-0.1", True), ("0", False), ("1700", True)])
def test_utilization_is_within_bounds(tmp_path: Path, value: str, *, refused: bool) -> None:
    path = written(tmp_path / "m.csv", f"time,value\n2026-10-05,{value}\n")
    if refused:
        with pytest.raises(BillError, match="a utilization is"):
            read_utilization(path)
    else:
        assert read_utilization(path).samples.height == 1


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BillError, match="no such file"):
        read_utilization(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("{", "not the answer of Prometheus, CloudWatch or Grafana"),
        ('{"x": 1}', "not the answer of Prometheus, CloudWatch or Grafana"),
        ("[[3]]", "not the answer of Prometheus, CloudWatch or Grafana"),
        (
            '{"Label": "gpu", "Datapoints": [{"Timestamp": "2026-10-01T00:00:00Z", "Average": {}}]}',
            "not the answer of Prometheus, CloudWatch or Grafana",
        ),
        ('[{"metric": 3, "value": [0, "1"]}]', "not the answer of Prometheus, CloudWatch or Grafana"),
        ("a,b,c,d,e,f,g,time\n", "no column of utilization among a, b, c, d, e, f;"),
        ("value,machine\n", "no column of time among value, machine;"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BillError) as caught:
        read_utilization(written(tmp_path / "m", text))
    assert message in str(caught.value)


def test_first_series_names_the_metric(tmp_path: Path) -> None:
    """Of several metrics one whose meaning is known is read, in its own unit."""
    series = [{"metric": {"__name__": name}, "value": [60, "1"]} for name in ("other", "gpu_percent", "third")]
    metrics = read_utilization(written(tmp_path / "m.json", json.dumps(series)))
    assert (metrics.name, metrics.percent) == ("gpu_percent", True)
    assert metrics.samples["utilization"].to_list() == [0.01]
    assert "other, third is left out; gpu_percent is read" in metrics.notes


def series_of(name: str, values: list[float], **labels: str) -> dict[str, object]:
    """Return a series of five-minute samples."""
    return {
        "metric": {"__name__": name, **labels},
        "values": [[300 * place, str(value)] for place, value in enumerate(values)],
    }


def read_series(tmp_path: Path, *series: dict[str, object]) -> UtilizationMetrics:
    return read_utilization(written(tmp_path / "m.json", json.dumps({"data": {"result": series}})))


@pytest.mark.parametrize(
    ("name", "values", "shares", "confidence"),
    [
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", [0.35, 0.0], [0.35, 0.0], "high"),
        ("DCGM_FI_PROF_SM_ACTIVE", [35.0, 70.0], [0.35, 0.7], "low"),
        ("DCGM_FI_DEV_GPU_UTIL", [1.0, 0.0], [0.01, 0.0], "high"),
        ("DCGM_FI_DEV_GPU_UTIL", [0.5, 0.9], [0.5, 0.9], "low"),
        ("nv_gpu_utilization", [0.6, 1.0], [0.6, 1.0], "high"),
        ("vllm:gpu_cache_usage_perc", [0.25, 0.5], [0.25, 0.5], "high"),
        ("kubernetes.io/node/accelerator/duty_cycle", [40.0, 1.0], [0.4, 0.01], "high"),
        ("GPUUtilization", [720.0, 80.0], [0.9, 0.1], "high"),
        ("GPUUtilization", [72.0, 8.0], [0.72, 0.08], "high"),
        ("my_gpus", [380.0, 100.0], [0.95, 0.25], "low"),
        ("my_gpus", [60.0, 3.0], [0.6, 0.03], "medium"),
        ("my_gpus", [0.6, 0.03], [0.6, 0.03], "low"),
        ("my_gpus_ratio", [0.6, 0.03], [0.6, 0.03], "high"),
    ],
)
def test_scale_by_name_and_values(
    tmp_path: Path, name: str, values: list[float], shares: list[float], confidence: str
) -> None:
    metrics = read_series(tmp_path, series_of(name, values, Hostname="h"))
    assert metrics.samples["utilization"].to_list() == pytest.approx(shares)
    assert metrics.confidence == confidence
    assert metrics.notes[0].startswith(f"{name} is read as a ")


def test_summed_percentage_keeps_its_busiest_gpu(tmp_path: Path) -> None:
    """One of eight GPUs at 8 % is 1 % of the machine, and yet a GPU that works."""
    metrics = read_series(tmp_path, series_of("GPUUtilization", [640.0, 8.0], EndpointName="e"))
    assert metrics.samples.row(1, named=True)["utilization"] == pytest.approx(0.01)
    assert metrics.samples.row(1, named=True)["busiest"] == pytest.approx(0.08)


@pytest.mark.parametrize("blank", [2**63 - 1, 2**63 - 16, 2147483632, 140737488355328.0, -1, "NaN"])
def test_blank_values_are_left_out(tmp_path: Path, blank: float) -> None:
    metrics = read_series(tmp_path, series_of("DCGM_FI_DEV_GPU_UTIL", [70, blank, 30], Hostname="h"))
    assert metrics.samples["utilization"].to_list() == pytest.approx([0.7, 0.3])
    assert "1 of 3 samples are blank and left out" in metrics.notes


def test_zeros_of_mig_tell_nothing(tmp_path: Path) -> None:
    """GPU_UTIL is not measured on MIG instances; GR_ENGINE_ACTIVE is."""
    whole = series_of("DCGM_FI_DEV_GPU_UTIL", [50, 0], Hostname="h", UUID="GPU-0")
    part = series_of("DCGM_FI_DEV_GPU_UTIL", [0, 0], Hostname="h", UUID="GPU-1", GPU_I_ID="3", GPU_I_PROFILE="1g.10gb")
    metrics = read_series(tmp_path, whole, part)
    assert metrics.samples["utilization"].to_list() == [0.5, 0.0]
    assert "2 zeros of MIG instances are left out: the metric is not measured there" in metrics.notes
    with pytest.raises(BillError, match="zeros of MIG instances"):
        read_series(tmp_path, part)
    measured = series_of("DCGM_FI_PROF_GR_ENGINE_ACTIVE", [0, 0], Hostname="h", GPU_I_ID="3")
    assert read_series(tmp_path, measured).samples.height == 2


def test_zeros_of_mig_in_csv(tmp_path: Path) -> None:
    """A whole GPU at 50 % and at 0, and a MIG instance at 0."""
    rows = [
        "time,node,gpu,gpu_i_id,DCGM_FI_DEV_GPU_UTIL",
        "2026-10-05,n,0,,50",
        "2026-10-06,n,0,,0",
        "2026-10-05,n,1,3,0",
    ]
    metrics = read_utilization(written(tmp_path / "m.csv", "\n".join(rows)))
    assert metrics.samples.select("gpu", "utilization").rows() == [("0", 0.5), ("0", 0.0)]


def test_memory_is_not_work(tmp_path: Path) -> None:
    with pytest.raises(BillError, match="DCGM_FI_DEV_FB_USED does not measure how much a GPU works"):
        read_series(tmp_path, series_of("DCGM_FI_DEV_FB_USED", [71_000.0], Hostname="h"))


def test_unnamed_gpus_are_one_machine(tmp_path: Path) -> None:
    gpus = [series_of("DCGM_FI_DEV_GPU_UTIL", [50.0], UUID=f"GPU-{place}") for place in range(3)]
    metrics = read_series(tmp_path, *gpus)
    assert (metrics.machines, metrics.gpus) == (1, 3)
    assert any("count as one machine" in note for note in metrics.notes)


def test_clusters_have_their_own_machines(tmp_path: Path) -> None:
    text = "time,cluster,node,gpu,gpu_percent\n2026-10-05,a,n1,0,5\n2026-10-05,b,n1,0,5\n2026-10-05,b,n1,1,5\n"
    metrics = read_utilization(written(tmp_path / "m.csv", text))
    assert (metrics.machines, metrics.gpus) == (2, 3)


def test_sixteen_gpus_add_up_at_most(tmp_path: Path) -> None:
    """1,600 % is all of sixteen GPUs, the most in a machine; more than that is no sum of percentages."""
    metrics = read_series(tmp_path, series_of("my_gpus", [1600.0, 400.0], Hostname="h"))
    assert metrics.samples["utilization"].to_list() == [1.0, 0.25]
    with pytest.raises(BillError, match="a utilization is 1602, which is over 100 %"):
        read_series(tmp_path, series_of("my_gpus", [1602.0], Hostname="h"))


def test_gpus_of_named_machines_need_no_note(tmp_path: Path) -> None:
    gpus = [series_of("DCGM_FI_DEV_GPU_UTIL", [50.0], Hostname="h", UUID=f"GPU-{place}") for place in range(2)]
    one = series_of("DCGM_FI_DEV_GPU_UTIL", [50.0], UUID="GPU-0")
    for series in (gpus, [one]):
        assert read_series(tmp_path, *series).notes == ("DCGM_FI_DEV_GPU_UTIL is read as a percentage, by its name",)


def test_uncertain_scale_tells_how_to_correct_it(tmp_path: Path) -> None:
    (note,) = read_series(tmp_path, series_of("my_gpus", [60.0, 3.0], Hostname="h")).notes
    assert note == (
        "my_gpus is read as a percentage, because it reaches 60; if that is wrong, name it …_percent or …_ratio"
    )


def test_unknown_metric_before_other_measures(tmp_path: Path) -> None:
    """A metric of unknown name may measure work; memory does not."""
    memory = series_of("DCGM_FI_DEV_FB_USED", [71_000.0], Hostname="h")
    metrics = read_series(tmp_path, memory, series_of("my_gpus", [60.0], Hostname="h"))
    assert metrics.name == "my_gpus"


def test_log_of_nvidia_smi(tmp_path: Path) -> None:
    """Spaces after commas, units in the header and in the cells, slashes in the dates."""
    text = (
        "timestamp, index, utilization.gpu [%], memory.used [MiB]\n"
        "2026/10/05 00:00:00.123, 0, 35 %, 71000 MiB\n"
        "2026/10/05 00:00:00.123, 1, 5 %, 100 MiB\n"
    )
    metrics = read_utilization(written(tmp_path / "smi.csv", text))
    assert metrics.samples["utilization"].to_list() == pytest.approx([0.35, 0.05])
    assert (metrics.gpus, metrics.confidence) == (2, "high")
    assert f"{metrics.samples['time'][0]:%Y-%m-%d %H}" == "2026-10-05 00"


def test_spreadsheet_in_utf16(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes("time;machine;gpu_percent\n05.10.2026 00:00;a;50\n".encode("utf-16"))
    assert read_utilization(path).samples["utilization"].to_list() == [0.5]


def test_mean_of_a_machine_may_hide_a_gpu(tmp_path: Path) -> None:
    """One of eight GPUs at 4 % is a mean of half a percent."""
    metrics = read_series(tmp_path, series_of("node_gpu_utilization", [0.5, 0.0], node="n"))
    assert metrics.samples["busiest"].to_list() == pytest.approx([0.04, 0.0])
    of_gpus = read_series(tmp_path, series_of("node_gpu_utilization", [0.5, 0.0], node="n", gpu="0"))
    assert of_gpus.samples["busiest"].to_list() == pytest.approx([0.005, 0.0])


@pytest.mark.parametrize(
    "name",
    [
        *("vllm:num_requests_running", "vllm:generation_tokens_total", "node_cpu_utilization", "CPUUtilization"),
        *("DCGM_FI_DEV_ENC_UTIL", "container_network_receive_bytes", "gpu_memory_utilization", "DCGM_FI_DEV_FB_FREE"),
    ],
)
def test_other_metrics_are_refused(tmp_path: Path, name: str) -> None:
    """Five running requests are no 5 %, and a processor that waits says nothing about its GPUs."""
    series = [{"metric": {"__name__": name, "instance": "i-1"}, "values": [[0, "5"], [3600, "0"]]}]
    path = written(tmp_path / "m.json", json.dumps({"data": {"result": series}}))
    with pytest.raises(BillError, match=f"{name} does not measure how much a GPU works"):
        read_utilization(path)


@pytest.mark.parametrize("name", ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_MEM_COPY_UTIL", "gpu.utilization", "gpu_usage"])
def test_metrics_of_work_are_read(tmp_path: Path, name: str) -> None:
    series = [{"metric": {"__name__": name, "instance": "i-1"}, "values": [[0, "90"], [3600, "0"]]}]
    path = written(tmp_path / "m.json", json.dumps({"data": {"result": series}}))
    assert read_utilization(path).samples["utilization"].to_list() == [0.9, 0.0]


def test_dots_in_names_are_read(tmp_path: Path) -> None:
    metrics = read_utilization(written(tmp_path / "m.csv", "time,host,gpu.utilization\n2026-10-05T00:00:00Z,i-1,0.8\n"))
    assert (metrics.samples["machine"].to_list(), metrics.samples["utilization"].to_list()) == (["i-1"], [0.8])
