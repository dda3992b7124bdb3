import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.samples.service import call, open_service

from meritorder.gateway.app.service import Service
from meritorder.gateway.routes.files import _disposition
from meritorder.gateway.store import files
from meritorder.gateway.store.schema import UPLOADS

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


def blobs(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "blobs").iterdir())


def uploads(service: Service) -> int:
    count = select(func.count()).select_from(UPLOADS)
    return service.context.database.read_now(lambda connection: connection.execute(count).scalar_one())


def test_refused_uploads_leave_nothing(service: Service, tmp_path: Path) -> None:
    kept = upload(service, purpose="batch")["id"]
    assert upload(service, purpose="other")["error"]["param"] == "purpose"  # type: ignore[index]
    assert upload(service)["error"]["code"] == "missing_required_parameter"  # type: ignore[index]
    broken_off = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nhalf'
    assert call(service, "POST", "/v1/files", broken_off, MULTIPART).status == 400
    asyncio.run(service.maintenance.heartbeat())
    asyncio.run(service.maintenance._clean())
    assert (blobs(tmp_path), uploads(service)) == ([kept], 0)


def test_upload_of_a_killed_gateway_is_deleted(service: Service, tmp_path: Path) -> None:
    """What it had written lies beside the blob that it was to become."""
    database = service.context.database
    database.submit(lambda connection: files.begin_upload(connection, "file-1", "killed")).result()
    database.submit(lambda connection: files.begin_upload(connection, "file-2", service.context.instance_id)).result()
    for name in ("file-1#1", "file-2#1"):
        (tmp_path / "blobs" / name).write_bytes(b"half")
    asyncio.run(service.maintenance.heartbeat())
    asyncio.run(service.maintenance._clean())
    assert (blobs(tmp_path), uploads(service)) == (["file-2#1"], 1)


def test_stored_contents_are_private(service: Service, tmp_path: Path) -> None:
    upload(service, purpose="batch")
    stored = [tmp_path / "blobs", *(tmp_path / "blobs").iterdir(), *tmp_path.glob("gateway.db*")]
    assert len(stored) >= 3
    for path in stored:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path.name


def test_file_without_content_is_an_error(service: Service, tmp_path: Path) -> None:
    file = upload(service, purpose="batch")
    (tmp_path / "blobs" / str(file["id"])).unlink()
    assert call(service, "GET", f"/v1/files/{file['id']}/content").status == 503


def test_content_has_its_filename(service: Service) -> None:
    file = upload(service, purpose="batch")
    headers = call(service, "GET", f"/v1/files/{file['id']}/content").headers
    assert headers[b"content-disposition"] == b"attachment; filename=\"f\"; filename*=UTF-8''f"


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("in.jsonl", "attachment; filename=\"in.jsonl\"; filename*=UTF-8''in.jsonl"),
        (
            'Größe "a"/b.txt',
            "attachment; filename=\"Gr__e _a_/b.txt\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%22a%22%2Fb.txt",
        ),
        ("a\r\nb", "attachment; filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab"),
    ],
)
def test_download_names_the_file(filename: str, header: str) -> None:
    assert _disposition(filename) == header
