from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service
from meritorder.gateway.routes.openapi.operations import OPERATIONS
from meritorder.gateway.store import keys
from meritorder.gateway.store.keys import Key


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(tmp_path) as opened:
        yield opened


def test_health_while_stopping(service: Service) -> None:
    assert (call(service, "GET", "/health").status, call(service, "GET", "/health").json) == (200, {"status": "ok"})
    service.context.supervisor.is_stopping = True
    assert call(service, "GET", "/health").status == 503


def test_health_names_what_fails(service: Service) -> None:
    service.context.supervisor.record("webhooks", ValueError("bug"))
    service.context.blobs.is_up = False
    reply = call(service, "GET", "/health")
    assert (reply.status, reply.json) == (200, {"status": "degraded", "failing": ["webhooks", "blobs"]})
    metrics = call(service, "GET", "/metrics").body.decode()
    assert 'meritorder_task_failures{task="webhooks"} 1.0' in metrics
    assert "meritorder_blobs_up 0.0" in metrics


def test_status_of_idle_gateway(service: Service) -> None:
    status = call(service, "GET", "/meritorder/status").json
    assert status.keys() == {"plan", "realtime", "venues", "queued", "batches", "ledger"}
    assert status["realtime"] == {
        "streams_last_minute": 0,
        "ttft_s": None,
        "slo_ttft_s": 2.0,
        "slo_attainment": 0.99,
    }
    (venue,) = status["venues"]
    assert (venue["name"], venue["models"], venue["realtime"], venue["deferrable"]) == ("v", ["m"], 0, 0)
    assert (status["plan"], status["queued"], status["batches"], status["ledger"]) == (None, {}, [], [])


def test_metrics_in_prometheus_format(service: Service) -> None:
    text = call(service, "GET", "/metrics").body.decode()
    assert 'meritorder_realtime{venue="v"} 0.0' in text
    assert "meritorder_store_up 1.0" in text


def test_admin_key_is_required(tmp_path: Path) -> None:
    with open_service(tmp_path, server={"require_keys": True}) as service:
        assert call(service, "GET", "/metrics").status == 401
        assert call(service, "GET", "/health").status == 200


def test_every_change_is_refused_to_read_only_keys(tmp_path: Path) -> None:
    with open_service(tmp_path, server={"require_keys": True}) as service:
        key = Key(id="key_1", name="reader", tenant="t", read_only=True)
        service.context.database.submit(lambda connection: keys.add(connection, key, "secret", now_s=0.0)).result()
        headers = ((b"authorization", b"Bearer secret"),)
        whose = call(service, "GET", "/meritorder/key", headers=headers).json
        assert whose == {"id": "key_1", "name": "reader", "tenant": "t", "admin": False, "read_only": True}
        changes = [operation for operation in OPERATIONS if operation.method != "GET" and not operation.is_public]
        statuses = {
            operation.path: call(service, operation.method, operation.path, {"model": "m"}, headers).status
            for operation in changes
        }
    assert {path: status for path, status in statuses.items() if status != 403} == {}
