"""Zones that times name by letters.

A name with several meanings where logs are written is not read: CST, IST, BST and AST. Of the others the usual one is
taken, and stated.

Source: RFC 2822, section 4.3, and the time zone database of IANA, 2026a.
"""

import re
from collections.abc import Iterable
from typing import Final

_HOURS: Final = {
    "UTC": 0,
    "GMT": 0,
    "WET": 0,
    "WEST": 1,
    "CET": 1,
    "CEST": 2,
    "MEZ": 1,
    "MESZ": 2,
    "EET": 2,
    "EEST": 3,
    "MSK": 3,
    "EST": -5,
    "EDT": -4,
    "CDT": -5,
    "MST": -7,
    "MDT": -6,
    "PST": -8,
    "PDT": -7,
    "AKST": -9,
    "AKDT": -8,
    "HST": -10,
    "SGT": 8,
    "HKT": 8,
    "JST": 9,
    "KST": 9,
    "AEST": 10,
    "AEDT": 11,
    "NZST": 12,
    "NZDT": 13,
}
_SEVERAL: Final = {
    "CST": "-06:00 (Central America) or +08:00 (China)",
    "IST": "+05:30 (India), +02:00 (Israel) or +01:00 (Ireland)",
    "BST": "+01:00 (Britain) or +06:00 (Bangladesh)",
    "AST": "-04:00 (Atlantic) or +03:00 (Arabia)",
}
_NAME: Final = re.compile(r"(?<!z) ([A-Z]{3,4})\]?$")


def is_zone(name: str) -> bool:
    """Return whether a name has one meaning."""
    return name.strip() in _HOURS


def offset_h(form: str) -> int | None:
    """Return the hours ahead of UTC of the zone that a format of times ends with; None if it names none."""
    match = _NAME.search(form)
    return _HOURS.get(match[1]) if match else None


def assumptions(forms: Iterable[str]) -> tuple[str, ...]:
    """Return how the names of zones in formats are read, but for those of UTC itself."""
    names = dict.fromkeys(match[1] for form in forms if offset_h(form) and (match := _NAME.search(form)))
    return tuple(f"times in {name} are read as UTC{_HOURS[name]:+d}" for name in names)


def ambiguity(text: str) -> str:
    """Return what is wrong with a time that ends with a name of several meanings; empty if nothing is."""
    match = _NAME.search(text.strip())
    return f"{match[1]} is {_SEVERAL[match[1]]}" if match and match[1] in _SEVERAL else ""
