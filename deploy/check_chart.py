"""Renders the Helm chart with each file of ci/, and checks what comes out, offline: python deploy/check_chart.py.

Objects of Kubernetes are checked strictly against its schemas, those of KEDA and of the Prometheus operator against
what of their definitions the chart uses. It needs the packages of the extra `deploy`.
"""

import sys
from pathlib import Path
from typing import Any, Final

import helm_python
import jsonschema
import kubernetes_validate
import yaml

CHART: Final = Path(__file__).resolve().parent / "chart"
RELEASE: Final = "prod"
_KUBERNETES: Final = "1.33"
_WARNING: Final = 2  # severity of helm lint

_NAME: Final = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253}
_LABELS: Final = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(required: str = "", **properties: Any) -> dict[str, Any]:  # noqa: ANN401 - schemas
    """Return the schema of an object that has these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


_SECRET: Final = _object("name key", name=_NAME, key={"type": "string"})
_DURATION: Final = {"type": "string", "pattern": "^([0-9]+(ms|[smhdwy]))+$"}
# Sources: the pages on ScaledObject and metrics-api of keda.sh, version 2.18, and the API reference of
# prometheus-operator.dev, 2026-11-30.
_SPECS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("keda.sh/v1alpha1", "ScaledObject"): _object(
        "scaleTargetRef triggers",
        scaleTargetRef=_object("name", name=_NAME),
        pollingInterval={"type": "integer", "minimum": 1},
        minReplicaCount={"type": "integer", "minimum": 0},
        maxReplicaCount={"type": "integer", "minimum": 1},
        triggers=_list(
            _object(
                "type metadata",
                type={"const": "metrics-api"},
                metricType={"enum": ["AverageValue", "Value"]},
                authenticationRef=_object("name", name=_NAME),
                metadata=_object(
                    "url valueLocation targetValue authMode",
                    url={"type": "string", "pattern": "^https?://[^ ]+$"},
                    valueLocation={"type": "string"},
                    targetValue={"type": "string", "pattern": "^[0-9.]+$"},
                    authMode={"enum": ["apiKey", "basic", "bearer", "tls"]},
                ),
            )
        ),
    ),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): _object(
        "secretTargetRef",
        secretTargetRef=_list(
            _object("parameter name key", parameter={"const": "token"}, name=_NAME, key={"type": "string"})
        ),
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _object(
        "selector endpoints",
        selector=_object("matchLabels", matchLabels=_LABELS),
        endpoints=_list(
            _object(
                "port",
                port={"type": "string"},
                path={"type": "string", "pattern": "^/"},
                interval=_DURATION,
                authorization=_object("credentials", credentials=_SECRET),
            )
        ),
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _object(
        "groups",
        groups=_list(
            _object(
                "name rules",
                name={"type": "string", "minLength": 1},
                rules=_list(
                    _object(
                        "alert expr",
                        alert={"type": "string"},
                        expr={"type": "string"},
                        labels=_LABELS,
                        annotations=_LABELS,
                        **{"for": _DURATION},
                    )
                ),
            )
        ),
    ),
}


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a release, its hooks among them."""
    with helm_python.Chart.load(CHART) as chart:
        texts = chart.render(values, name=RELEASE, namespace="llm")
    documents = (document for text in texts.values() for document in yaml.safe_load_all(text))
    return [document for document in documents if document]


def check(manifest: dict[str, Any]) -> None:
    """Check an object against the schema of its kind.

    Raises:
        jsonschema.ValidationError: It is not of its kind.
    """
    spec = _SPECS.get((manifest["apiVersion"], manifest["kind"]))
    if spec is None:
        kubernetes_validate.validate(manifest, _KUBERNETES, strict=True)
    else:
        metadata = _object("name labels", name=_NAME, labels=_LABELS)
        whole = _object("spec", apiVersion={}, kind={}, metadata=metadata, spec=spec)
        jsonschema.validate(manifest, whole)


def main() -> None:
    """Check the release of each file of values; exit with 1 if an object is wrong."""
    findings = [message for message in helm_python.lint(CHART)["messages"] if message["severity"] >= _WARNING]
    if findings:
        sys.exit(f"lint: {findings}")
    for file in sorted((CHART / "ci").glob("*.yaml")):
        manifests = render(yaml.safe_load(file.read_text(encoding="utf-8")))
        for manifest in manifests:
            try:
                check(manifest)
            except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
                sys.exit(f"{file.name}: {manifest['kind']} {manifest['metadata']['name']}: {error.message}")
        print(f"{file.name}: {len(manifests)} objects")


if __name__ == "__main__":
    main()
