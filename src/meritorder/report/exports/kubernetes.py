"""A plan as manifests of Kubernetes: scaled by KEDA, or by cron jobs and horizontal pod autoscalers."""

from typing import Any, Final

from meritorder.records.planfile import Plan
from meritorder.report.exports import engines, yaml
from meritorder.report.exports.fleets import Fleet, repeats_by_cron, windows
from meritorder.units import format_duration

Manifest = dict[str, Any]

_KUBECTL: Final = "registry.k8s.io/kubectl:v1.33.0"
_SCALER: Final = "meritorder-scaler"
_PROMETHEUS: Final = "http://prometheus.monitoring.svc:9090"
_MAX_STABILIZATION_S: Final = 3600
# What a node provisioner is asked for: the label of Karpenter, which AKS and others have too.
_CAPACITY_LABEL: Final = "karpenter.sh/capacity-type"


def scaled_by_keda(plan: Plan, fleets: list[Fleet]) -> dict[str, str]:
    """Return deployments with a `ScaledObject` each: its floor by cron, and what real time and the queue add to it."""
    parts = [part for fleet in fleets for part in (*_served(fleet, fleet.minimum), *_scaled_object(fleet))]
    return {"keda.yaml": yaml.documents(parts, _comment(plan, "KEDA 2.14 or later and a Prometheus are needed."))}


def scaled_by_cron(plan: Plan, fleets: list[Fleet]) -> dict[str, str]:
    """Return deployments, whose floor cron jobs set, and an autoscaler for those that follow real time."""
    parts: list[Manifest] = []
    for fleet in fleets:
        parts += _served(fleet, fleet.minimum)
        if _follows_load(fleet):
            parts.append(_autoscaler(fleet))
        parts += _cron_jobs(fleet)
    if any(windows(fleet) for fleet in fleets):
        parts = [*_scaler_rights(), *parts]
    metrics = sorted({engines.server_of(fleet.pool).pod_metric for fleet in fleets if _follows_load(fleet)})
    needs = f"Autoscalers need a metrics adapter that serves, of pods: {', '.join(metrics)}." if metrics else ""
    return {"kubernetes.yaml": yaml.documents(parts, _comment(plan, needs))}


def _comment(plan: Plan, needs: str) -> str:
    lines = ["Written by `meritorder export`. Times are UTC.", *filter(None, [needs])]
    if plan.policy is not None and plan.policy.backlog:
        lines.append("Machines for the backlog follow the queue of the gateway, which knows deadlines; KEDA does not.")
    if not repeats_by_cron(plan):
        span = format_duration(plan.slots * plan.slot_s)
        lines.append(f"The plan is of {span}, and cron repeats by the day or week: its most replicas run all the time.")
    return "\n".join(lines)


def _labels(fleet: Fleet) -> dict[str, str]:
    return {"app.kubernetes.io/name": fleet.name, "app.kubernetes.io/managed-by": "meritorder"}


def _head(kind: str, name: str, fleet: Fleet, version: str = "v1") -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": _labels(fleet)}}


def _served(fleet: Fleet, replicas: int) -> list[Manifest]:
    """Return the deployment of a fleet and its service."""
    pool, selector = fleet.pool, {"app.kubernetes.io/name": fleet.name}
    container = {
        "name": "engine",
        "image": engines.server_of(pool).image,
        "command": engines.command(pool),
        "ports": [{"name": "http", "containerPort": engines.PORT}],
        "resources": {"limits": {"nvidia.com/gpu": pool.replica_gpus}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 5},
        "startupProbe": {
            "httpGet": {"path": "/health", "port": "http"},
            "periodSeconds": 10,
            "failureThreshold": max(60, round(pool.startup_s / 5)),
        },
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],  # noqa: S108 - of the engine's processes
    }
    spec: Manifest = {
        "containers": [container],
        "volumes": [{"name": "shared-memory", "emptyDir": {"medium": "Memory"}}],
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "terminationGracePeriodSeconds": 120,
    }
    if fleet.is_spot:
        spec["nodeSelector"] = {_CAPACITY_LABEL: "spot"}
    template = {"metadata": {"labels": _labels(fleet)}, "spec": spec}
    machine = {"meritorder/pool": pool.name, "meritorder/machine": f"{pool.machine} ({pool.gpus} {pool.hardware})"}
    deployment = _head("Deployment", fleet.name, fleet, "apps/v1") | {
        "spec": {"replicas": replicas, "selector": {"matchLabels": selector}, "template": template}
    }
    deployment["metadata"]["annotations"] = machine
    service = _head("Service", fleet.name, fleet) | {
        "spec": {"selector": selector, "ports": [{"name": "http", "port": engines.PORT, "targetPort": "http"}]}
    }
    return [deployment, service]


def _scaled_object(fleet: Fleet) -> list[Manifest]:
    """Return what scales a fleet; nothing if it is constant."""
    triggers = [
        {
            "type": "cron",
            "metadata": {
                "timezone": "Etc/UTC",
                "start": window.start_cron,
                "end": window.end_cron,
                "desiredReplicas": str(window.replicas),
            },
        }
        for window in windows(fleet)
        if window.replicas > fleet.minimum
    ]
    model = f'{{model_name="{fleet.pool.model}"}}'
    if fleet.target_in_flight is not None:
        query = f"sum({engines.server_of(fleet.pool).running.replace('{}', model)})"
        triggers.append(_prometheus(query, fleet.target_in_flight))
    elif fleet.maximum > max(fleet.replicas):
        triggers.append(_prometheus(f'sum(meritorder_queued{{model="{fleet.pool.model}"}})', _sequences(fleet)))
    if not triggers:
        return []
    spec: Manifest = {
        "scaleTargetRef": {"name": fleet.name},
        "minReplicaCount": fleet.minimum,
        "maxReplicaCount": fleet.maximum,
        "pollingInterval": 15,
        "cooldownPeriod": int(fleet.stabilization_s),
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(fleet)}},
        "triggers": triggers,
    }
    return [_head("ScaledObject", fleet.name, fleet, "keda.sh/v1alpha1") | {"spec": spec}]


def _prometheus(query: str, threshold: float) -> Manifest:
    metadata = {"serverAddress": _PROMETHEUS, "query": query, "threshold": f"{threshold:g}"}
    return {"type": "prometheus", "metadata": metadata}


def _sequences(fleet: Fleet) -> int:
    return fleet.pool.max_num_seqs or 1


def _follows_load(fleet: Fleet) -> bool:
    return fleet.target_in_flight is not None and fleet.maximum > fleet.minimum


def _behavior(fleet: Fleet) -> Manifest:
    return {"scaleDown": {"stabilizationWindowSeconds": min(_MAX_STABILIZATION_S, int(fleet.stabilization_s))}}


def _autoscaler(fleet: Fleet) -> Manifest:
    metric = {
        "type": "Pods",
        "pods": {
            "metric": {"name": engines.server_of(fleet.pool).pod_metric},
            "target": {"type": "AverageValue", "averageValue": f"{fleet.target_in_flight:g}"},
        },
    }
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": fleet.name},
        "minReplicas": max(1, fleet.minimum),
        "maxReplicas": fleet.maximum,
        "metrics": [metric],
        "behavior": _behavior(fleet),
    }
    return _head("HorizontalPodAutoscaler", fleet.name, fleet, "autoscaling/v2") | {"spec": spec}


def _cron_jobs(fleet: Fleet) -> list[Manifest]:
    """Return the jobs that set the floor of a fleet at each change."""
    jobs = []
    for number, window in enumerate(windows(fleet)):
        if _follows_load(fleet):
            patch = f'{{"spec":{{"minReplicas":{max(1, window.replicas)}}}}}'
            arguments = ["patch", "horizontalpodautoscaler", fleet.name, "--patch", patch]
        else:
            arguments = ["scale", "deployment", fleet.name, f"--replicas={window.replicas}"]
        pod = {
            "serviceAccountName": _SCALER,
            "restartPolicy": "OnFailure",
            "containers": [{"name": "kubectl", "image": _KUBECTL, "args": arguments}],
        }
        spec = {
            "schedule": window.start_cron,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 1,
            "jobTemplate": {"spec": {"template": {"spec": pod}}},
        }
        jobs.append(_head("CronJob", f"{fleet.name}-{number}", fleet, "batch/v1") | {"spec": spec})
    return jobs


def _scaler_rights() -> list[Manifest]:
    """Return the account of the cron jobs and its rights."""
    metadata = {"name": _SCALER}
    rules = [
        {"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"], "verbs": ["get", "patch"]},
        {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["get", "patch"]},
    ]
    role, group = "Role", "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{group}/v1", "kind": role, "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "subjects": [{"kind": "ServiceAccount", "name": _SCALER}],
            "roleRef": {"apiGroup": group, "kind": role, "name": _SCALER},
        },
    ]
