"""Fields of a request, checked one by one, with OpenAI's bounds and codes."""

import json
from typing import Any, Final

import msgspec

from meritorder.gateway.wire.errors import ApiError, invalid_request
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

_METADATA_PAIRS: Final = 16
_METADATA_KEY: Final = 64
_METADATA_VALUE: Final = 512
_SHORTEST_LIFE_S: Final = int(SECONDS_PER_HOUR)
_LONGEST_LIFE_S: Final = int(30 * SECONDS_PER_DAY)


def json_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ApiError: It is not one.
    """
    try:
        found = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise invalid_request("We could not parse the JSON body of your request.") from None
    if not isinstance(found, dict):
        raise invalid_request("The body of your request must be a JSON object.")
    return found


def text(fields: dict[str, Any], name: str) -> str:
    """Return a field that must be a text."""
    if name not in fields or fields[name] is None:
        raise invalid_request(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    value = fields[name]
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    if "\0" in value:
        raise invalid_request(
            f"Invalid '{name}': it has a NUL in it, which is no text.", param=name, code="invalid_value"
        )
    return value


def wrong_type(name: str, expected: str, value: object) -> ApiError:
    """Return the problem with a field of another type."""
    got = {
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        list: "an array",
        dict: "an object",
        str: "a string",
    }
    found = got.get(type(value), "null")
    return invalid_request(
        f"Invalid type for '{name}': expected {expected}, but got {found} instead.", param=name, code="invalid_type"
    )


def metadata(value: object) -> str | None:
    """Return metadata as JSON: at most 16 pairs, keys of 64 and values of 512 characters."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type("metadata", "an object", value)
    if len(value) > _METADATA_PAIRS:
        raise invalid_request(
            f"Invalid 'metadata': too many properties. Expected an object with at most {_METADATA_PAIRS} properties, "
            f"but got an object with {len(value)} properties instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, each in value.items():
        if len(key) > _METADATA_KEY:
            raise _too_long(f"metadata: key '{key[:20]}…'", _METADATA_KEY, len(key))
        if not isinstance(each, str):
            raise wrong_type(f"metadata.{key}", "a string", each)
        if len(each) > _METADATA_VALUE:
            raise _too_long(f"metadata.{key}", _METADATA_VALUE, len(each))
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
    if isinstance(seconds, str) and seconds.isdigit():
        seconds = int(seconds)  # forms have no numbers
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise wrong_type(f"{name}.seconds", "an integer", seconds)
    within(f"{name}.seconds", seconds, _SHORTEST_LIFE_S, _LONGEST_LIFE_S)
    return float(seconds)


def within(name: str, value: int, lowest: int, highest: int) -> None:
    """Check that a number is within its bounds, both included."""
    if value < lowest:
        raise invalid_request(
            f"Invalid '{name}': integer below minimum value. Expected a value >= {lowest}, but got {value} instead.",
            param=name,
            code="integer_below_min_value",
        )
    if value > highest:
        raise invalid_request(
            f"Invalid '{name}': integer above maximum value. Expected a value <= {highest}, but got {value} instead.",
            param=name,
            code="integer_above_max_value",
        )


def limit(value: str | None, *, default: int, most: int) -> int:
    """Return the `limit` of a list."""
    found = number("limit", value, default=default)
    within("limit", found, 0, most)
    return found


def number(name: str, value: str | None, *, default: int) -> int:
    """Return a whole number of the address."""
    if value is None or value == "":
        return default
    try:
        return int(value)
    except ValueError:
        raise wrong_type(name, "an integer", value) from None


def _too_long(name: str, most: int, got: int) -> ApiError:
    return invalid_request(
        f"Invalid '{name}': string too long. Expected a string with maximum length {most}, but got a string with "
        f"length {got} instead.",
        param="metadata",
        code="string_above_max_length",
    )
