"""Checks of request bodies and fields, with OpenAI's error codes and, where it has them, bounds."""

import json
import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import msgspec

from meritorder.gateway.wire.errors import INVALID_JSON, ApiError, invalid_request
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

MAX_DEPTH: Final = 100  # decoders recurse
MAX_VALUES: Final = 500_000  # an empty list is two bytes in JSON, and 64 in memory
_NOT_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one level down, one up
MAX_METADATA_PAIRS: Final = 16
MAX_METADATA_KEY: Final = 64
MAX_METADATA_VALUE: Final = 512
MIN_LIFETIME_S: Final = int(SECONDS_PER_HOUR)
MAX_LIFETIME_S: Final = int(30 * SECONDS_PER_DAY)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}")


def is_too_deep(body: bytes) -> bool:
    """Tell whether arrays and objects are nested deeper than the maximum; whether the body is JSON is not checked."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = b"".join(body.split(b'"')[::2]).translate(_STEPS, _NOT_STRUCTURE)  # without the strings
    return max(accumulate(memoryview(structure).cast("b")), default=0) > MAX_DEPTH


def is_unicode(body: bytes) -> bool:
    """Tell whether a body that may be JSON is UTF-8, without halves of surrogate pairs; engines fail at others."""
    try:
        if not body.isascii():
            body.decode()
        if _SURROGATE.search(body):
            msgspec.json.decode(body)
    except INVALID_JSON:
        return False
    return True


def has_too_many_values(body: bytes) -> bool:
    """Tell whether there may be more values than the maximum; commas within strings count too."""
    return body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a body that must be a JSON object.

    Raises:
        ApiError: The body is not a JSON object.
    """
    if has_too_many_values(body):
        raise invalid_request(f"The JSON body of your request has more than {MAX_VALUES:,} values.")
    if is_too_deep(body):
        raise invalid_request(f"The JSON body of your request is nested more than {MAX_DEPTH} levels deep.")
    try:
        content = msgspec.json.decode(body or b"{}")
    except INVALID_JSON:
        raise invalid_request("We could not parse the JSON body of your request.") from None
    if not isinstance(content, dict):
        raise invalid_request("The body of your request must be a JSON object.")
    return content


def required(fields: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - JSON
    """Return a required field; it may be null."""
    if name not in fields:
        raise missing(name)
    return fields[name]


def missing(name: str) -> ApiError:
    """Return the error for a field that is required."""
    return invalid_request(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def text(fields: dict[str, Any], name: str) -> str:
    """Return a required string field."""
    value = fields.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    if "\0" in value:
        raise invalid_request(f"Invalid '{name}': it contains a NUL character.", param=name, code="invalid_value")
    return value


def choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return a value that must be one of the choices."""
    if value not in choices:
        supported = ", ".join(f"'{known}'" for known in choices)
        raise invalid_request(
            f"Invalid value: '{value}'. Supported values are: {supported}.", param=name, code="invalid_value"
        )
    return value


def wrong_type(name: str, expected: str, value: object) -> ApiError:
    """Return the error for a field of the wrong type."""
    type_names = {
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        list: "an array",
        dict: "an object",
        str: "a string",
    }
    actual = type_names.get(type(value), "null")
    return invalid_request(
        f"Invalid type for '{name}': expected {expected}, but got {actual} instead.", param=name, code="invalid_type"
    )


def metadata(value: object) -> str | None:
    """Return metadata as JSON: at most 16 pairs, keys up to 64 and values up to 512 characters."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type("metadata", "an object", value)
    if len(value) > MAX_METADATA_PAIRS:
        raise invalid_request(
            f"Invalid 'metadata': too many properties. Expected an object with at most {MAX_METADATA_PAIRS} "
            f"properties, but got an object with {len(value)} properties instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, text_value in value.items():
        if len(key) > MAX_METADATA_KEY:
            raise _too_long(f"metadata: key '{key[:20]}…'", MAX_METADATA_KEY, len(key))
        if not isinstance(text_value, str):
            raise wrong_type(f"metadata.{key}", "a string", text_value)
        if len(text_value) > MAX_METADATA_VALUE:
            raise _too_long(f"metadata.{key}", MAX_METADATA_VALUE, len(text_value))
    return json.dumps(value)


def lifetime_s(value: object, name: str) -> float | None:
    """Return the seconds of `{"anchor": "created_at", "seconds": …}`."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type(name, "an object", value)
    if value.get("anchor") != "created_at":
        raise invalid_request(
            f"Invalid value: {value.get('anchor')!r}. Supported values are: 'created_at'.",
            param=f"{name}.anchor",
            code="invalid_value",
        )
    seconds = value.get("seconds")
    if isinstance(seconds, str) and _INTEGER.fullmatch(seconds):
        seconds = int(seconds)  # form fields are strings
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise wrong_type(f"{name}.seconds", "an integer", seconds)
    check_range(f"{name}.seconds", seconds, MIN_LIFETIME_S, MAX_LIFETIME_S)
    return float(seconds)


def check_range(name: str, value: int, minimum: int, maximum: int) -> None:
    """Check that a number is within its bounds, inclusive."""
    if value < minimum:
        raise invalid_request(
            f"Invalid '{name}': integer below minimum value. Expected a value >= {minimum}, but got {value} instead.",
            param=name,
            code="integer_below_min_value",
        )
    if value > maximum:
        raise invalid_request(
            f"Invalid '{name}': integer above maximum value. Expected a value <= {maximum}, but got {value} instead.",
            param=name,
            code="integer_above_max_value",
        )


def limit(value: str | None, *, default: int, maximum: int) -> int:
    """Return the `limit` query parameter of a list."""
    size = integer("limit", value, default=default)
    check_range("limit", size, 0, maximum)
    return size


def integer(name: str, value: str | None, *, default: int) -> int:
    """Return an integer query parameter."""
    if value is None or value == "":
        return default
    if not _INTEGER.fullmatch(value):
        raise wrong_type(name, "an integer", value)
    return int(value)


def _too_long(name: str, maximum: int, got: int) -> ApiError:
    return invalid_request(
        f"Invalid '{name}': string too long. Expected a string with maximum length {maximum}, but got a string with "
        f"length {got} instead.",
        param="metadata",
        code="string_above_max_length",
    )
