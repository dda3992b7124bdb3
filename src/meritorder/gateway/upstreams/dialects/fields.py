"""Reads a request field by field, so that no field is lost in translation: one that is left over is an error."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from meritorder.gateway.errors import UnsupportedError

Json = dict[str, Any]

# Values without effect: the default in every API.
_NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = {
    "n": (1,),
    "store": (False,),
    "logprobs": (False,),
    "modalities": (["text"],),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "metadata": ({},),
    "tools": ([],),
    # For the gateway itself, which has already chosen the lane and the price.
    "service_tier": ("auto", "default", "flex"),
}


class FieldReader:
    """The fields of a JSON object, each to be taken once.

    Args:
        content: The object; null fields count as absent.
        venue: Name of the venue, for errors.
        at: Path of the object, such as `messages[2].`.
    """

    def __init__(self, content: object, *, venue: str, at: str = "") -> None:
        self.venue = venue
        self.at = at
        if not isinstance(content, dict):
            raise self.unsupported(at.rstrip("."), "is not an object")
        self._left: Json = {name: value for name, value in content.items() if value is not None}

    def take(self, name: str) -> Any:  # noqa: ANN401 - JSON
        """Return a field and mark it as translated; None if it is absent."""
        return self._left.pop(name, None)

    def peek(self, name: str) -> Any:  # noqa: ANN401 - JSON
        """Return a field without marking it as translated."""
        return self._left.get(name)

    def text(self, name: str) -> str:
        """Return a field that must be a string."""
        value = self.take(name)
        if not isinstance(value, str):
            raise self.unsupported(self.at + name, "must be a string")
        return value

    def inside(self, name: str) -> "FieldReader":
        """Return a field that must be an object."""
        return FieldReader(self.take(name), venue=self.venue, at=f"{self.at}{name}.")

    def each(self, name: str) -> list["FieldReader"]:
        """Return a field that must be a list of objects; an empty list if it is absent."""
        items = self.take(name) or []
        if not isinstance(items, list):
            raise self.unsupported(self.at + name, "must be a list")
        return [
            FieldReader(item, venue=self.venue, at=f"{self.at}{name}[{index}].") for index, item in enumerate(items)
        ]

    def number(self, name: str) -> float | None:
        """Return a field that must be a number; None if it is absent."""
        value = self.take(name)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise self.refuse(name, "must be a number")

    def parts(self, name: str) -> list["FieldReader"]:
        """Return a message's content as parts; a string is one part."""
        content = self._left.get(name)
        if isinstance(content, str):
            self._left[name] = [{"type": "text", "text": content}] if content else []
        return self.each(name)

    def function(self) -> "FieldReader":
        """Return the function of a tool or tool call; other APIs have no other kind of tool."""
        kind = self.text("type")
        if kind != "function":
            raise self.refuse("type", f"is {kind!r}: its API supports only functions")
        return self.inside("function")

    def rest(self) -> Json:
        """Return the fields that were not taken."""
        return dict(self._left)

    def done(self) -> None:
        """Check that no field with an effect is left.

        Raises:
            UnsupportedError: A field was not translated.
        """
        for name, value in self._left.items():
            if value not in _NEUTRAL.get(name, ()):
                raise self.refuse(name)

    def refuse(self, name: str, what: str = "has no equivalent in its API") -> UnsupportedError:
        """Return the error for a field of this object."""
        return self.unsupported(self.at + name, what)

    def unsupported(self, param: str, what: str) -> UnsupportedError:
        """Return the error for a field given by its full path."""
        return UnsupportedError(f"{param} {what}", venue=self.venue, param=param)


def decode(body: bytes, *, venue: str) -> Json:
    """Decode a request's body.

    Raises:
        UnsupportedError: It is not a JSON object.
    """
    try:
        return msgspec.json.decode(body, type=Json)
    except msgspec.DecodeError:
        raise UnsupportedError("the body is not a JSON object", venue=venue, param="body") from None


def data_url(url: str) -> tuple[str, str] | None:
    """Return the media type and base64 data of a data URL; None for any other URL."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head.removeprefix("data:").removesuffix(";base64"), data


def without_none(fields: Json) -> Json:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
