from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service
from meritorder.gateway.store import files
from meritorder.gateway.store.files import StoredFile

REQUEST = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(tmp_path) as opened:
        file = StoredFile(
            id="file-1", tenant="default", filename="f", purpose="batch", bytes=0, blob="b", created_s=0.0
        )
        opened.context.database.submit(lambda connection: files.add(connection, file)).result()
        yield opened


def test_created_batch_is_validating(service: Service) -> None:
    batch = call(service, "POST", "/v1/batches", REQUEST | {"metadata": {"a": "b"}}).json
    assert (batch["status"], batch["metadata"], batch["paused_at"]) == ("validating", {"a": "b"}, None)
    assert batch["expires_at"] - batch["created_at"] == 86_400
    assert call(service, "GET", f"/v1/batches/{batch['id']}").json == batch
    assert call(service, "GET", "/v1/batches").json["data"] == [batch]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_file_id": "file-2"}, "input_file_id"),
        ({"endpoint": "/v1/images"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "31d"}, "completion_window"),
        ({"metadata": []}, "metadata"),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, "output_expires_after.anchor"),
    ],
)
def test_invalid_field_is_named(service: Service, change: dict[str, object], param: str) -> None:
    reply = call(service, "POST", "/v1/batches", REQUEST | change)
    assert (reply.status, reply.json["error"]["param"]) == (400, param)


def test_pause_resume_and_cancel(service: Service) -> None:
    path = f"/v1/batches/{call(service, 'POST', '/v1/batches', REQUEST).json['id']}"
    assert call(service, "POST", path + "/pause").json["paused_at"] is not None
    assert call(service, "POST", path + "/resume").json["paused_at"] is None
    assert call(service, "POST", path + "/cancel").json["status"] == "cancelling"
    assert call(service, "POST", path + "/cancel").json["status"] == "cancelling"
    assert call(service, "POST", path + "/pause").status == 409


def test_idempotency_key_creates_one_batch(service: Service) -> None:
    key = ((b"idempotency-key", b"job 7"),)
    first = call(service, "POST", "/v1/batches", REQUEST, headers=key)
    again = call(service, "POST", "/v1/batches", REQUEST, headers=key)
    assert first.json["id"] == again.json["id"]
    assert len(call(service, "GET", "/v1/batches").json["data"]) == 1
    other = call(service, "POST", "/v1/batches", REQUEST | {"completion_window": "2h"}, headers=key)
    assert (other.status, other.json["error"]["code"]) == (422, "idempotency_key_reused")
    assert call(service, "POST", "/v1/batches", REQUEST).json["id"] != first.json["id"]
