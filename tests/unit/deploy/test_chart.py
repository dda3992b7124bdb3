"""The Helm chart, rendered with the values of deploy/chart/ci."""

import copy
import importlib.util
import json
import tomllib
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from meritorder.gateway import config_file

CHART = Path(__file__).parents[3] / "deploy" / "chart"
TOOL = "no Helm: pip install -e '.[dev,deploy]'"


@pytest.fixture(scope="module")
def chart() -> ModuleType:
    """Return the script that renders and checks the chart."""
    pytest.importorskip("helm_python", reason=TOOL)
    pytest.importorskip("kubernetes_validate", reason=TOOL)
    spec = importlib.util.spec_from_file_location("check_chart", CHART.parent / "check_chart.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def release(chart: ModuleType, name: str, **changes: object) -> dict[str, list[dict[str, Any]]]:
    """Return the objects of a file of values, by kind."""
    values = yaml.safe_load((CHART / "ci" / f"{name}.yaml").read_text(encoding="utf-8")) | changes
    by_kind = defaultdict(list)
    for manifest in chart.render(values):
        by_kind[manifest["kind"]].append(manifest)
    return by_kind


def pods(objects: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [owner["spec"]["template"]["spec"] for kind in ("Deployment", "Job") for owner in objects[kind]]


def test_default_configuration_is_accepted() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for text in (values["config"], (CHART.parent / "gateway.toml").read_text(encoding="utf-8")):
        settings = config_file.parse_settings(tomllib.loads(text), where="config")
        assert settings.store.url.startswith("postgresql://")
        assert settings.store.journal.startswith("/var/lib/meritorder/")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "scaled", "cloud"])
def test_objects_are_of_their_kinds(chart: ModuleType, name: str) -> None:
    objects = release(chart, name)
    for manifest in (manifest for manifests in objects.values() for manifest in manifests):
        chart.check(manifest)
    assert "Secret" not in objects
    assert len(objects["PodDisruptionBudget"]) == (name != "one")


@pytest.mark.slow
def test_wrong_objects_are_refused(chart: ModuleType) -> None:
    objects = release(chart, "scaled")
    for kind, field in (("Deployment", "replica"), ("ScaledObject", "maxReplicas"), ("ServiceMonitor", "port")):
        wrong = copy.deepcopy(objects[kind][0])
        wrong["spec"][field] = 1
        with pytest.raises(Exception, match=field):
            chart.check(wrong)


@pytest.mark.slow
def test_containers_have_no_rights(chart: ModuleType) -> None:
    for pod in pods(release(chart, "cloud")):
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["image"] == "registry.example.com/meritorder:1"
        assert container["envFrom"] == [{"secretRef": {"name": "database"}}]
        mounted = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert {volume["name"] for volume in pod["volumes"]} == set(mounted)


@pytest.mark.slow
def test_store_is_migrated_before_gateways(chart: ModuleType) -> None:
    objects = release(chart, "one")
    (job,) = objects["Job"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][-1] == "--migrate"
    (volume,) = (part for part in job["spec"]["template"]["spec"]["volumes"] if part["name"] == "config")
    (config,) = (part for part in objects["ConfigMap"] if part["metadata"]["name"] == volume["configMap"]["name"])
    assert config["metadata"]["annotations"]["helm.sh/hook-weight"] == "-1", "it is there before the job"


@pytest.mark.slow
def test_pools_follow_the_gateway(chart: ModuleType) -> None:
    objects = release(chart, "scaled")
    h100, spot = objects["ScaledObject"]
    (trigger,) = h100["spec"]["triggers"]
    service = objects["Service"][0]["metadata"]["name"]
    assert trigger["metadata"]["url"] == f"http://{service}.llm.svc:8000/v1/scale/aws%20us-east-1%20h100"
    assert h100["spec"]["scaleTargetRef"] == {"name": "llama-h100"}
    assert (h100["spec"]["minReplicaCount"], spot["spec"]["minReplicaCount"]) == (0, 1)
    (secret,) = objects["TriggerAuthentication"][0]["spec"]["secretTargetRef"]
    (endpoint,) = objects["ServiceMonitor"][0]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": secret["name"], "key": secret["key"]}
    assert "replicas" not in objects["Deployment"][0]["spec"], "the autoscaler decides"
    with pytest.raises(Exception, match="each of pools needs maxReplicas"):
        release(chart, "scaled", pools=[{"name": "h100", "deployment": "d"}])


@pytest.mark.slow
def test_monitoring_is_as_in_its_files(chart: ModuleType) -> None:
    objects = release(chart, "scaled")
    (rule,) = objects["PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    (board,) = (part["data"] for part in objects["ConfigMap"] if "meritorder.json" in part["data"])
    assert json.loads(board["meritorder.json"])["uid"] == "meritorder"


@pytest.mark.slow
def test_gateway_may_be_called_from_named_peers(chart: ModuleType) -> None:
    (policy,) = release(chart, "scaled")["NetworkPolicy"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}}}]
    ports = {port["port"] for egress in policy["spec"]["egress"] for port in egress["ports"]}
    assert ports == {53, 443, 5432, 8000}


def test_compose_mounts_files_that_exist() -> None:
    folder = CHART.parent
    services = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]
    mounts = [mount.split(":")[0] for service in services.values() for mount in service.get("volumes", ())]
    assert all((folder / mount).is_file() for mount in mounts if mount.startswith("."))
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)
