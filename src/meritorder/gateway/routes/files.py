"""`/v1/files`: upload, list, retrieve, download, delete."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.routes.answering import caller, is_ascending, json_response
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files
from meritorder.gateway.store.files import StoredFile
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.errors import ApiError
from meritorder.gateway.wire.multipart import Form
from meritorder.gateway.wire.objects import file_object, list_object
from meritorder.units import SECONDS_PER_DAY

PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
MAX_PAGE: Final = 10_000
_BATCH_FILE_LIFETIME_S: Final = 30 * SECONDS_PER_DAY


class Files:
    """The routes of files."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/files", self.create, methods=["POST"]),
            Route("/v1/files", self.list, methods=["GET"]),
            Route("/v1/files/{file_id}", self.retrieve, methods=["GET"]),
            Route("/v1/files/{file_id}", self.delete, methods=["DELETE"]),
            Route("/v1/files/{file_id}/content", self.content, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """Store an uploaded file."""
        context, key = self._context, await caller(self._context, request)
        form = Form(
            content_type=request.headers.get("content-type", ""),
            file_field="file",
            max_bytes=context.settings.limits.file_bytes,
        )
        file_id = context.new_id("file-")
        async with self._upload(file_id):
            size = await context.blobs.write(file_id, form.file(_body_of(request)))
            file = self._file_record(form, file_id, size, key.tenant)

            def add(connection: Connection) -> None:
                if not files.finish_upload(connection, file.blob, context.instance_id):
                    raise StoreUnavailableError("another gateway has deleted the upload")
                files.add(connection, file)

            await context.database.write_soon(add)
        return json_response(file_object(file))

    @contextlib.asynccontextmanager
    async def _upload(self, blob: str) -> AsyncIterator[None]:
        """Record a blob while it is written; if it becomes no file, maintenance deletes it."""
        context = self._context
        await context.database.write_soon(lambda connection: files.begin_upload(connection, blob, context.instance_id))
        try:
            yield
        except BaseException:
            context.database.submit(lambda connection: files.abandon_upload(connection, blob))
            raise

    def _file_record(self, form: Form, file_id: str, size: int, tenant: str) -> StoredFile:
        if form.filename is None:
            raise checks.missing("file")
        purpose = checks.choice("purpose", checks.text(form.fields, "purpose"), PURPOSES)
        expiry = {
            name: form.fields[f"expires_after[{name}]"]
            for name in ("anchor", "seconds")
            if f"expires_after[{name}]" in form.fields
        }
        lifetime_s = checks.lifetime_s(expiry or None, "expires_after")
        if lifetime_s is None and purpose == "batch":
            lifetime_s = _BATCH_FILE_LIFETIME_S
        now_s = self._context.now_s()
        return StoredFile(
            id=file_id,
            tenant=tenant,
            filename=form.filename,
            purpose=purpose,
            bytes=size,
            blob=file_id,
            created_s=now_s,
            expires_s=None if lifetime_s is None else now_s + lifetime_s,
        )

    async def list(self, request: Request) -> Response:
        """List files, newest first."""
        key, query = await caller(self._context, request), request.query_params
        ascending = is_ascending(request, "desc")
        limit = checks.limit(query.get("limit"), default=MAX_PAGE, maximum=MAX_PAGE)
        page = await self._context.database.read_soon(
            lambda connection: files.pages(
                connection,
                key.tenant,
                after=query.get("after"),
                limit=limit,
                ascending=ascending,
                purpose=query.get("purpose"),
                now_s=self._context.now_s(),
            )
        )
        return json_response(list_object([file_object(file) for file in page.items], has_more=page.has_more))

    async def retrieve(self, request: Request) -> Response:
        """Return a file's metadata."""
        return json_response(file_object(await self._file(request)))

    async def content(self, request: Request) -> Response:
        """Return a file's content."""
        file = await self._file(request)
        parts = self._context.blobs.read(file.blob)
        first = await anext(parts, b"")  # a blob that cannot be read is an error, not an answer that breaks off
        headers = {
            "content-length": str(file.bytes),
            "content-disposition": _disposition(file.filename),
        }
        return StreamingResponse(_joined(first, parts), headers=headers, media_type="application/octet-stream")

    async def delete(self, request: Request) -> Response:
        """Delete a file."""
        file, now_s = await self._file(request), self._context.now_s()
        await self._context.database.write_soon(
            lambda connection: files.remove(connection, file.tenant, file.id, now_s=now_s)
        )
        return json_response({"id": file.id, "object": "file", "deleted": True})

    async def _file(self, request: Request) -> StoredFile:
        key, file_id = await caller(self._context, request), request.path_params["file_id"]
        now_s = self._context.now_s()
        file = await self._context.database.read_soon(
            lambda connection: files.get(connection, key.tenant, file_id, now_s=now_s)
        )
        if file is None:
            raise ApiError(404, f"No such File object: {file_id}", param="id")
        return file


def _disposition(filename: str) -> str:
    """Return the header by which a client saves a file under its name, in both forms of RFC 6266."""
    plain = "".join(letter if letter.isascii() and letter.isprintable() else "_" for letter in filename)
    quoted = plain.translate({ord('"'): "_", ord("\\"): "_"})
    return f"attachment; filename=\"{quoted}\"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"


async def _body_of(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk


async def _joined(first: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in parts:
        yield part
