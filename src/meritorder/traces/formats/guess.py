"""Which columns of an unknown table could hold arrivals and token counts: a proposal for a person to correct."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from meritorder.inputs.times import EPOCH_FROM_S
from meritorder.traces.formats.names import SIDES, TIME_WORDS, TOKEN_WORDS, words_in
from meritorder.traces.formats.shape import Shape
from meritorder.units import SECONDS_PER_HOUR

_SHOWN_ROWS: Final = 3
_MOST: Final = 0.8
_FEWEST: Final = 3
_DATE: Final = re.compile(
    r"\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[./-]\d\d?[./-]\d{2,4}|\d\d?/[A-Z][a-z]{2}/\d{4}|[A-Z][a-z]{2} \d\d?, \d{4}"
)
_CLOCK: Final = re.compile(r"\b\d\d:\d\d:\d\d\b")
_WHOLE_HOUR: Final = re.compile(r"(.*\D)?\d\d?:00(:00(\.0+)?)?\s?(Z|UTC|[+-]\d\d(:?\d\d)?)?")
_LAST_SECOND: Final = re.compile(r":59:59(?:\.9+)?")
_NUMBER: Final = re.compile(r"[\d.,\s]*\d")
_CACHE_WORDS: Final = frozenset({"cache", "cached"})
_COUNT_WORDS: Final = frozenset({"tokens", "token", "tok", "toks", "len", "length", "count", "num", "size", "usage"})
# Words of columns that count neither side of one call.
_NO_SIDE: Final = frozenset(
    {"total", "sum", "both", "avg", "average", "mean", "median", "max", "min", "limit", "rate", "requests"}
    | {"throughput", "cost", "price", "usd", "latency", "duration", "chars", "characters", "bytes"}
)


def guess(shape: Shape) -> dict[str, str]:
    """Return the columns that could hold arrival, input and output; a field without one is left out."""
    values = shape.leaves()
    times = {name: _time_score(name, column) for name, column in values.items()}
    taken = {"arrival": _best(times)}
    counts = [name for name in _counts(values) if name != taken["arrival"]]
    for field in SIDES:
        free = [name for name in counts if name not in taken.values()]
        taken[field] = _best({name: _count_score(name, field) for name in free})
    nameless = [
        name
        for name in counts
        if name not in taken.values() and words_in(name) & _COUNT_WORDS and not words_in(name) & _CACHE_WORDS
    ]
    # Prompts are usually longer than answers.
    nameless.sort(key=lambda name: -sum(map(_size, values[name])))
    taken |= zip([field for field in SIDES if not taken[field]], nameless, strict=False)
    return {field: name for field, name in taken.items() if name}


def proposal(shape: Shape) -> str:
    """Return the `--columns` line that could be meant, with the first rows as evidence."""
    found = guess(shape)
    if not found:
        return "name the columns with --columns arrival=…,input=…,output=…"
    named = {field: _quoted(name) if name in shape.source.columns else name for field, name in found.items()}
    line = ",".join(f"{field}={named.get(field, 'NAME')}" for field in ("arrival", *SIDES))
    values = shape.leaves()
    rows = [
        " ".join(f"{field}={values[name][place]}" for field, name in found.items())
        for place in range(min(_SHOWN_ROWS, len(shape.records)))
    ]
    tokens = TOKEN_WORDS | _CACHE_WORDS
    unused = [name for name in _counts(values) if name not in found.values() and words_in(name) & tokens]
    left_out = f"; it leaves out {', '.join(unused)}, which may belong to a sum or to cached=" if unused else ""
    return f"if this is right, add --columns {line} (its first rows: {'; '.join(rows)}{left_out}); else correct it"


def _counts(values: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the columns of counts of one side of a call."""
    return [
        name
        for name, column in values.items()
        if not words_in(name.rpartition(".")[2]) & _NO_SIDE and _are_counts(column)
    ]


def _quoted(name: str) -> str:
    return f'"{name}"' if re.search(r"[.+,\s]", name) else name


def _best(scores: Mapping[str, float]) -> str:
    return max(scores, key=lambda name: scores[name]) if scores and max(scores.values()) > 0 else ""


def _time_score(name: str, column: Sequence[Any]) -> float:
    named = len(words_in(name) & TIME_WORDS)
    if holds_dates(column):
        return 2 + named
    present = _present(column)
    rising = all(map(_NUMBER.fullmatch, map(str, present))) and present == sorted(present, key=_size)
    return named if present and rising and named else 0


def holds_dates(column: Sequence[Any]) -> bool:
    """Whether most values are dates."""
    present = _present(column)
    return bool(present) and sum(bool(_DATE.search(str(value))) for value in present) >= _MOST * len(present)


def only_dates(values: Mapping[str, Sequence[Any]]) -> str:
    """Return the only column of dates, "" if there is none or several."""
    dated = [name for name, column in values.items() if holds_dates(column)]
    return dated[0] if len(dated) == 1 else ""


def says_date(text: str) -> bool:
    """Whether a text has a date or a clock in it."""
    return bool(_DATE.search(text) or _CLOCK.search(text))


def holds_durations(column: Sequence[Any]) -> bool:
    """Whether values are numbers that are no times of arrival: smaller than an epoch, and in no order."""
    present = [str(value).strip() for value in _present(column)]
    if len(present) < _FEWEST or not all(map(_NUMBER.fullmatch, present)):
        return False
    sizes = list(map(_size, present))
    return max(sizes) < EPOCH_FROM_S and sizes != sorted(sizes)


def are_intervals(starts: Sequence[Any], ends: Sequence[Any]) -> bool:
    """Whether rows last from one whole hour to another, which no request does."""
    pairs = [(str(start), str(end)) for start, end in zip(starts, ends, strict=False) if start and end]
    whole = (_is_whole_hour(start) and _is_whole_hour(end) and start != end for start, end in pairs)
    return len(pairs) >= _FEWEST and all(whole)


def are_apart(*columns: Sequence[Any]) -> bool:
    """Whether the last column is the sum of the others in most rows in which none is zero."""
    rows = [row for row in zip(*(map(_size, column) for column in columns), strict=False) if all(row)]
    return bool(rows) and 2 * sum(sum(parts) == total for *parts, total in rows) >= len(rows)


def _is_whole_hour(text: str) -> bool:
    if _NUMBER.fullmatch(text):
        return _size(text) % SECONDS_PER_HOUR == 0
    if ":" not in text:
        return bool(_DATE.search(text))
    return bool(_WHOLE_HOUR.fullmatch(text) or _LAST_SECOND.search(text))


def _present(column: Sequence[Any]) -> list[Any]:
    return [value for value in column if value not in {None, ""}] if _hashable(column) else []


def _count_score(name: str, field: str) -> float:
    words = words_in(name)
    return 2 + len(words & _COUNT_WORDS) if words & SIDES[field] else 0


def _are_counts(column: Sequence[Any]) -> bool:
    """Whether most values are whole numbers, and not all of them zero."""
    present = [str(value).strip() for value in column if value is not None and str(value).strip()]
    whole = [text for text in present if re.fullmatch(r"\d{1,3}([.,\s]?\d{3})*(\.0*)?|\d+(\.0*)?", text)]
    return bool(whole) and len(whole) >= _MOST * len(present) and any(_size(text) for text in whole)


def _hashable(column: Sequence[Any]) -> bool:
    return not any(isinstance(value, dict | list) for value in column)


def _size(value: Any) -> float:  # noqa: ANN401  (any cell)
    digits = re.sub(r"[,\s]", "", str(value))
    try:
        return float(digits)
    except ValueError:
        return 0.0
