"""What can go wrong between the gateway and what it depends on.

    StoreUnavailable       the database or the blobs cannot be reached or written
    UnknownCursorError     a page of a list was requested after an object that does not exist
    UpstreamError          no HTTP answer came, or the answer broke off
    ├── Unavailable        nothing was sent, or the venue refused it: try again later, or elsewhere
    ├── TimedOut           the time of the call is over
    ├── Broken             the connection or the answer broke off, or is not of the contract
    ├── Refused            it answered that it will not, and would again: a key, a quota for good, a file it finds wrong
    └── NotCarried         the request says what this venue's API has no word for; nothing was sent

These are met by the gateway, not by its user: they end as a retry, as another venue, or as an error on the wire.
"""


class UpstreamError(Exception):
    """No HTTP answer came from a venue.

    Args:
        what: What happened, in one line that may be shown; never a secret or a request's text.
        venue: Name of the venue.
    """

    def __init__(self, what: str, *, venue: str) -> None:
        self.what = what
        self.venue = venue
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.venue}: {self.what}"


class Unavailable(UpstreamError):  # noqa: N818 - a state that is met every day
    """The venue takes nothing now.

    Args:
        what: What happened.
        venue: Name of the venue.
        retry_after_s: When it is worth asking again; None if nobody said.
    """

    def __init__(self, what: str, *, venue: str, retry_after_s: float | None = None) -> None:
        super().__init__(what, venue=venue)
        self.retry_after_s = retry_after_s


class TimedOut(UpstreamError):  # noqa: N818
    """The time of the call is over; the venue may have done the work."""


class Broken(UpstreamError):  # noqa: N818
    """The connection or the answer broke off, or is not of the contract; the venue may have done the work."""


class Refused(UpstreamError):  # noqa: N818
    """The venue answered that it will not, and would again: somebody has to look.

    Args:
        what: What it says.
        venue: Name of the venue.
        status: The HTTP status.
    """

    def __init__(self, what: str, *, venue: str, status: int) -> None:
        super().__init__(what, venue=venue)
        self.status = status


class NotCarried(UpstreamError):  # noqa: N818
    """The request says what this venue's API has no word for; nothing was sent.

    Args:
        what: What cannot be said.
        venue: Name of the venue.
        param: The field, as the client named it.
    """

    def __init__(self, what: str, *, venue: str, param: str) -> None:
        super().__init__(what, venue=venue)
        self.param = param


class UnknownCursorError(Exception):
    """A page of a list was requested after an object that does not exist.

    Args:
        after: The id that the client passed.
    """

    def __init__(self, after: str) -> None:
        super().__init__(after)
        self.after = after


class StoreUnavailable(Exception):  # noqa: N818
    """The database or the blobs cannot be reached or written; nothing was changed."""
