"""A form with a file in it, read as it comes: the file goes on as a stream, the other fields are kept."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from meritorder.gateway.wire.errors import ApiError, invalid_request

_FIELD_BYTES = 64 * 1024
_GATHERED_BYTES = 1024 * 1024


@dataclass(slots=True)
class Form:
    """A multipart form.

    Args:
        content_type: The header of the request.
        file_field: Name of the field that is the file.
        most_bytes: Longest file that is taken.

    Raises:
        ApiError: It is not a multipart form.
    """

    content_type: str
    file_field: str
    most_bytes: int
    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    _parser: MultipartParser = field(init=False)
    _gathered: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _header: list[bytes] = field(default_factory=list)
    _disposition: bytes = b""
    _name: str = ""
    _ended: bool = False

    def __post_init__(self) -> None:
        kind, options = parse_options_header(self.content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise invalid_request("Send the file as multipart/form-data, with its fields 'file' and 'purpose'.")
        callbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        self._parser = MultipartParser(options[b"boundary"], callbacks)  # type: ignore[arg-type]

    async def file(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the file; when it is over, so is the form, and its fields are known.

        Raises:
            ApiError: The form is broken, or too large.
        """
        size = 0
        async for chunk in chunks:
            try:
                self._parser.write(chunk)
            except MultipartParseError:
                raise invalid_request("The multipart form could not be parsed.") from None
            if len(self._gathered) >= _GATHERED_BYTES:
                size = self._measure(size)
                yield self._take()
        if not self._ended:
            raise invalid_request("The multipart form ended too early.")
        self._measure(size)
        if self._gathered:
            yield self._take()

    def _measure(self, size: int) -> int:
        size += len(self._gathered)
        if size > self.most_bytes:
            raise ApiError(
                413, f"The file is larger than {self.most_bytes:,} bytes.", param="file", code="file_too_large"
            )
        return size

    def _take(self) -> bytes:
        taken = bytes(self._gathered)
        self._gathered.clear()
        return taken

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
        if self._name == self.file_field:
            # No database takes a NUL.
            self.filename = options.get(b"filename", b"upload").decode("utf-8", "replace").replace("\0", "\ufffd")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self.file_field:
            self._gathered += data[start:end]
        elif len(self._value) + end - start > _FIELD_BYTES:
            raise invalid_request(f"The field {self._name!r} is too long.", param=self._name)
        else:
            self._value += data[start:end]

    def _end_part(self) -> None:
        if self._name != self.file_field:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True
