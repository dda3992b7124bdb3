from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service

MULTIPART = ((b"content-type", b"multipart/form-data; boundary=b"),)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(tmp_path) as opened:
        yield opened


def upload(service: Service, content: str = "line", **fields: str) -> dict[str, object]:
    start = '--b\r\nContent-Disposition: form-data; name="'
    parts = [f'{start}{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    parts.append(f'{start}file"; filename="f"\r\n\r\n{content}\r\n--b--\r\n')
    file: dict[str, object] = call(service, "POST", "/v1/files", "".join(parts).encode(), MULTIPART).json
    return file


def test_uploaded_file_is_returned(service: Service) -> None:
    file = upload(service, "two words", purpose="user_data")
    assert (file["bytes"], file["filename"], file["expires_at"]) == (9, "f", None)
    assert call(service, "GET", f"/v1/files/{file['id']}").json == file
    assert call(service, "GET", f"/v1/files/{file['id']}/content").body == b"two words"


def test_batch_files_expire(service: Service) -> None:
    file = upload(service, purpose="batch")
    assert isinstance(file["expires_at"], int)
    assert file["expires_at"] - int(str(file["created_at"])) == 30 * 86_400


def test_deleted_file_is_gone(service: Service) -> None:
    file = upload(service, purpose="batch")
    assert call(service, "DELETE", f"/v1/files/{file['id']}").json["deleted"] is True
    assert call(service, "GET", f"/v1/files/{file['id']}").status == 404


def test_files_are_listed_by_purpose(service: Service) -> None:
    first, second = upload(service, purpose="batch"), upload(service, purpose="evals")
    assert [file["id"] for file in call(service, "GET", "/v1/files").json["data"]] == [second["id"], first["id"]]
    assert [file["id"] for file in call(service, "GET", "/v1/files?purpose=batch").json["data"]] == [first["id"]]
    assert call(service, "GET", "/v1/files?after=file-9").json["error"]["param"] == "after"


def test_unknown_purpose_is_refused(service: Service, tmp_path: Path) -> None:
    assert upload(service, purpose="other")["error"]["param"] == "purpose"  # type: ignore[index]
    assert upload(service)["error"]["code"] == "missing_required_parameter"  # type: ignore[index]
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()], "refused uploads are removed"
