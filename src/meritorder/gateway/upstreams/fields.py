"""Read a request field by field, so that none is lost in a translation: what nobody took is an error."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from meritorder.gateway.errors import UnsupportedError

Json = dict[str, Any]

# What says nothing: not asked for, or the default that every API has.
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
    # The gateway's own: it has chosen the lane and the price before a venue is asked.
    "service_tier": ("auto", "default", "flex"),
}


class FieldReader:
    """The fields of an object, each to be taken once.

    Args:
        found: The object; null is the same as not there.
        venue: Name of the venue, for errors.
        at: Where the object is, such as `messages[2].`.
    """

    def __init__(self, found: object, *, venue: str, at: str = "") -> None:
        self.venue = venue
        self.at = at
        if not isinstance(found, dict):
            raise self.not_carried(at.rstrip("."), "is not an object")
        self._left: Json = {name: value for name, value in found.items() if value is not None}

    def take(self, name: str) -> Any:  # noqa: ANN401 - JSON
        """Return a field and count it as carried; None if it is not there."""
        return self._left.pop(name, None)

    def peek(self, name: str) -> Any:  # noqa: ANN401 - JSON
        """Return a field without counting it as carried."""
        return self._left.get(name)

    def text(self, name: str) -> str:
        """Return a field that must be a text."""
        value = self.take(name)
        if not isinstance(value, str):
            raise self.not_carried(self.at + name, "must be a text")
        return value

    def inside(self, name: str) -> "FieldReader":
        """Return a field that must be an object."""
        return FieldReader(self.take(name), venue=self.venue, at=f"{self.at}{name}.")

    def each(self, name: str) -> list["FieldReader"]:
        """Return a field that must be a list of objects; nothing if it is not there."""
        found = self.take(name) or []
        if not isinstance(found, list):
            raise self.not_carried(self.at + name, "must be a list")
        return [FieldReader(value, venue=self.venue, at=f"{self.at}{name}[{at}].") for at, value in enumerate(found)]

    def number(self, name: str) -> float | None:
        """Return a field that must be a number; None if it is not there."""
        value = self.take(name)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise self.refuse(name, "must be a number")

    def parts(self, name: str) -> list["FieldReader"]:
        """Return a message's content as parts; a text is one part."""
        content = self._left.get(name)
        if isinstance(content, str):
            self._left[name] = [{"type": "text", "text": content}] if content else []
        return self.each(name)

    def function(self) -> "FieldReader":
        """Return the function of a tool or of a tool call: there are no other tools elsewhere."""
        kind = self.text("type")
        if kind != "function":
            raise self.refuse("type", f"is {kind!r}: only functions can be called there")
        return self.inside("function")

    def done(self) -> None:
        """Check that nothing is left that says something.

        Raises:
            UnsupportedError: A field was not taken.
        """
        for name, value in self._left.items():
            if value not in _NEUTRAL.get(name, ()):
                raise self.refuse(name)

    def refuse(self, name: str, what: str = "has no equal in its API") -> UnsupportedError:
        """Return the error for a field of this object."""
        return self.not_carried(self.at + name, what)

    def not_carried(self, param: str, what: str) -> UnsupportedError:
        """Return the error for a field, by its whole name."""
        return UnsupportedError(f"{param} {what}", venue=self.venue, param=param)


def decode(body: bytes, *, venue: str) -> Json:
    """Read a request's body.

    Raises:
        UnsupportedError: It is not a JSON object.
    """
    try:
        return msgspec.json.decode(body, type=Json)
    except msgspec.DecodeError:
        raise UnsupportedError("the body is not a JSON object", venue=venue, param="body") from None


def data_url(url: str) -> tuple[str, str] | None:
    """Return media type and base64 text of a data URL; None if it is another kind of URL."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head.removeprefix("data:").removesuffix(";base64"), data


def without_none(fields: Json) -> Json:
    """Return the fields that say something."""
    return {name: value for name, value in fields.items() if value is not None}
