"""Failures between the gateway and what it depends on.

    StoreUnavailableError        the database or the blob store cannot be reached or written
    └── BlobMissingError         the blob store has no such blob: to try again does not help
    UnknownCursorError           a page of a list was requested after an object that does not exist
    UpstreamError                a venue sent no usable HTTP answer
    ├── UnavailableError         nothing was sent, or the venue is overloaded: retry later or elsewhere
    ├── UpstreamTimeoutError     the call timed out
    ├── BrokenAnswerError        the connection or the answer broke off, or violates the API contract
    ├── RefusedError             a permanent refusal, such as a bad key, an exhausted quota or an invalid file
    └── UnsupportedError         this venue's API cannot express the request; nothing was sent

The gateway handles these itself: they end as a retry, at another venue, or as an error on the wire.
"""

from collections.abc import Callable
from types import TracebackType


class UpstreamError(Exception):
    """A venue sent no usable HTTP answer.

    Args:
        what: What happened, in one line that may be shown to the client; never a secret or a request body.
        venue: Name of the venue.
    """

    def __init__(self, what: str, *, venue: str) -> None:
        self.what = what
        self.venue = venue
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.venue}: {self.what}"


class UnavailableError(UpstreamError):
    """The venue accepts no requests now.

    Args:
        what: What happened.
        venue: Name of the venue.
        retry_after_s: When to retry; None if unknown.
    """

    def __init__(self, what: str, *, venue: str, retry_after_s: float | None = None) -> None:
        super().__init__(what, venue=venue)
        self.retry_after_s = retry_after_s


class UpstreamTimeoutError(UpstreamError):
    """The call timed out; the venue may still have done the work."""


class BrokenAnswerError(UpstreamError):
    """The connection or the answer broke off, or violates the API contract; the venue may have done the work."""


class TranslatedErrors:
    """A `with` block of which only `UpstreamError` comes out; any other exception is translated to one.

    What a venue sends can break our code in more ways than can be listed, such as by depth, type or size.

    Args:
        translate: Returns the error for an exception.
    """

    __slots__ = ("_translate",)

    def __init__(self, translate: Callable[[Exception], UpstreamError]) -> None:
        self._translate = translate

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, UpstreamError):
            raise self._translate(error) from error


def checked_contract(venue: str) -> TranslatedErrors:
    """Return a block in which any failure to interpret what a venue sent is a `BrokenAnswerError`."""
    return TranslatedErrors(lambda _: BrokenAnswerError("an answer violates its API", venue=venue))


def without_frames(error: UpstreamError) -> UpstreamError:
    """Return an error without its cause and the frames that it came through, which hold the answer."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


class RefusedError(UpstreamError):
    """The venue refused the request permanently; an operator has to act.

    Args:
        what: The venue's message.
        venue: Name of the venue.
        status: The HTTP status.
    """

    def __init__(self, what: str, *, venue: str, status: int) -> None:
        super().__init__(what, venue=venue)
        self.status = status


class UnsupportedError(UpstreamError):
    """The venue's API cannot express the request; nothing was sent.

    Args:
        what: What is unsupported.
        venue: Name of the venue.
        param: The unsupported field, as the client named it.
    """

    def __init__(self, what: str, *, venue: str, param: str) -> None:
        super().__init__(what, venue=venue)
        self.param = param


def checked_request(venue: str) -> TranslatedErrors:
    """Return a block in which any failure to read or translate a request is an `UnsupportedError`."""
    return TranslatedErrors(lambda _: UnsupportedError("the request is malformed", venue=venue, param="body"))


class UnknownCursorError(Exception):
    """A page of a list was requested after an object that does not exist.

    Args:
        after: The id that the client passed.
    """

    def __init__(self, after: str) -> None:
        super().__init__(after)
        self.after = after


class DecodingError(Exception):
    """A large body could not be decoded now."""


class StoreUnavailableError(Exception):
    """The database or the blob store cannot be reached or written; nothing was changed."""


class BlobMissingError(StoreUnavailableError):
    """The blob store has no blob of this name."""
