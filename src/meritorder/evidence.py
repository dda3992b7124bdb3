"""What an answer rests on: prices with their sources, assumptions, and intervals of uncertainty.

Plain records; `comparison`, `planfile` and `findings` write them to their files as they are.
"""

import msgspec
from msgspec import UNSET, UnsetType


class PriceUsed(msgspec.Struct, frozen=True, kw_only=True):
    """One catalog price that an answer uses.

    A comparison and an audit state what the price was used for; a plan states whether it was assumed. A field that is
    not set is not written.
    """

    what: str
    provider: str
    pricing_model: str
    usd: float
    unit: str
    as_of: str = ""
    source: str = ""
    confidence: str = ""
    used_for: str | UnsetType = UNSET
    assumed: bool | UnsetType = UNSET


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the input did not state: `text` is what was assumed, `option` the option that changes it."""

    text: str
    option: str = ""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """The range of a share: its value with the performance model at either end of its measured error."""

    low: float
    high: float
    basis: str
