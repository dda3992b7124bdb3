"""A streaming parser of multipart uploads: the file is yielded as it arrives, the other fields are collected."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from meritorder.gateway.wire.errors import ApiError, invalid_request

_MAX_FIELD_BYTES: Final = 64 * 1024
_MAX_FIELDS: Final = 32
_MAX_FILENAME: Final = 512
_MAX_FORM_BYTES: Final = 1024 * 1024  # of everything around the file
_BUFFER_BYTES: Final = 1024 * 1024
_PIECE_BYTES: Final = 64 * 1024  # parsed at one go


@dataclass(slots=True)
class Form:
    """A multipart form.

    Args:
        content_type: Content-Type header of the request.
        file_field: Name of the file's field.
        max_bytes: Size limit of the file.

    Raises:
        ApiError: The content type is not a multipart form.
    """

    content_type: str
    file_field: str
    max_bytes: int
    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    _parser: MultipartParser = field(init=False)
    _buffer: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _header: list[bytes] = field(default_factory=list)
    _disposition: bytes = b""
    _name: str = ""
    _ended: bool = False

    def __post_init__(self) -> None:
        kind, options = parse_options_header(self.content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise invalid_request("Send the file as multipart/form-data, with its fields 'file' and 'purpose'.")
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _malformed() from error

    async def file(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the file's content; after its end, `fields` and `filename` are complete.

        Raises:
            ApiError: The form is malformed, or the file too large.
        """
        size = received = 0
        async for chunk in chunks:
            received += len(chunk)
            if received > self.max_bytes + _MAX_FORM_BYTES:
                raise self._too_large()
            for start in range(0, len(chunk), _PIECE_BYTES):
                try:
                    self._parser.write(chunk[start : start + _PIECE_BYTES])
                except FormParserError as error:
                    raise _malformed() from error
                if len(self._buffer) >= _BUFFER_BYTES:
                    size = self._check_size(size)
                    yield self._flush()
        if not self._ended:
            raise invalid_request("The multipart form is incomplete.")
        self._check_size(size)
        if self._buffer:
            yield self._flush()

    def _check_size(self, size: int) -> int:
        size += len(self._buffer)
        if size > self.max_bytes:
            raise self._too_large()
        return size

    def _too_large(self) -> ApiError:
        return ApiError(413, f"The file is larger than {self.max_bytes:,} bytes.", param="file", code="file_too_large")

    def _flush(self) -> bytes:
        content = bytes(self._buffer)
        self._buffer.clear()
        return content

    def _begin_part(self) -> None:
        self._disposition, self._name = b"", ""
        self._value.clear()
        self._header = [b"", b""]

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _end_header(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = [b"", b""]

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name != self.file_field:
            return
        if self.filename is not None:
            raise invalid_request("The form has more than one file.", param=self.file_field)
        # Databases reject NUL.
        self.filename = options.get(b"filename", b"upload").decode("utf-8", "replace").replace("\0", "\ufffd")
        if len(self.filename) > _MAX_FILENAME:
            raise invalid_request(f"The filename is longer than {_MAX_FILENAME} characters.", param=self.file_field)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self.file_field:
            self._buffer += data[start:end]
        elif len(self._value) + end - start > _MAX_FIELD_BYTES:
            raise invalid_request(f"The field {self._name!r} is too long.", param=self._name)
        else:
            self._value += data[start:end]

    def _end_part(self) -> None:
        if self._name == self.file_field:
            return
        if len(self.fields) >= _MAX_FIELDS:
            raise invalid_request(f"The form has more than {_MAX_FIELDS} fields.")
        self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True


def _malformed() -> ApiError:
    return invalid_request("The multipart form could not be parsed.")
