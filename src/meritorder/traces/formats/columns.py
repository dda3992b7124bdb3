"""Any table by column names: well-known ones, or a mapping given by the user."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from meritorder.errors import TraceError
from meritorder.traces.formats.declared import AsideRule, at_once, terms_of, with_kinds
from meritorder.traces.formats.guess import are_apart, are_intervals, holds_dates, holds_durations, only_dates
from meritorder.traces.formats.names import (
    DAY_FIRST_WORDS,
    NAMES,
    PAIRS,
    plain,
    says_time,
    says_tokens_of,
    unit_by_name,
    variants,
    words_in,
)
from meritorder.traces.formats.shape import Shape
from meritorder.traces.intake import AT_ONCE, RawTable
from meritorder.traces.trace import Kind

FIELDS: Final = (
    *("arrival", "input", "output", "cached", "model", "tenant", "session", "workload", "deadline"),
    *(
        "reasoning",
        "total",
        "id",
        "parent",
        "status",
        "error",
        "calls",
        "started",
        "first",
        "ended",
        "ttft",
        "tpot",
        "e2e",
    ),
    *("config", "hardware", "gpus", "replicas"),
)
_REQUIRED: Final = FIELDS[:3]
_COUNTS: Final = ("input", "output")
_COUNT: Final = re.compile(r"[-+]?[\d.,\s'\u2019]*\d(?:[eE][-+]?\d+)?")
# Names of columns that hold the duration of a request in the logs of some servers.
_ALSO_DURATIONS: Final = ("time", "request_time")
_DAYS: Final = ("date", "day", "datum", "fecha", "jour", "data")
# Values within their type, as exports of MongoDB ({"$date": …}) and DynamoDB ({"N": "5"}) write them.
_TYPED: Final = re.compile(r"(\.(\$date|\$number(Int|Long|Double|Decimal)|[SN]))+$")
_CLOCK: Final = re.compile(r"\s*\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AaPp][Mm])?\s*")

_CALLED: Final = ("endpoint", "path", "url", "route", "request_path", "operation", "call_type", "request_type")
_KINDS: Final = (*_CALLED, "type", "event", "kind", "object", "method", "request", "span_kind")
"""Columns that say what a row is about."""
# Calls of models that lost their counts: these are traffic that is not priced.
_GENERATES: Final = re.compile(
    "complet|chat|message|respon|generat|infer|llm|converse|invoke|stream|error|fail|timeout|cancel|abort"
)
_MOST_KINDS: Final = 50
_RULES: Final = tuple(
    AsideRule(kind=kind, column=column, pattern=pattern)
    for columns, kind, pattern in (
        (_CALLED, Kind.BATCH_CALL, r"/(files|batches)\b"),
        (_CALLED, Kind.NO_GENERATION, "embedding|moderation|rerank|transcription|images/|image_gen|audio/speech"),
        (("success", "is_success", "succeeded", "successful"), Kind.ERROR, "^(false|no|0)$"),
        (("cached", "cache_hit", "from_cache", "is_cached", "cache_status"), Kind.RESPONSE_CACHE, "^(true|yes|hit)$"),
    )
    for column in columns
)
"""What a call is for, whether it failed, and whether a cache answered, where a column of this name says so."""

# Names of arrivals that say that a row is about an interval: without a count of its requests, it is a sum.
_INTERVALS: Final = (
    *("minute", "hour", "day", "bucket_start", "window_start", "interval_start", "period_start", "starting_at"),
)
# Words of prefixes that tell running totals, means and limits from the counts of one request.
_NO_REQUEST: Final = frozenset(
    {"cumulative", "running", "session", "conversation", "lifetime", "overall", "hourly", "daily", "weekly", "monthly"}
    | {"average", "median", "estimated", "expected", "previous", "baseline", "quota", "allowed", "requested"}
)
_SHOWN_PARTS: Final = 4
_TOKEN_WORDS: Final = frozenset({"token", "tokens"})
# Words of columns of tokens that are no count of a part: limits, prices, rates, sums.
_NO_PART: Final = frozenset(
    {"max", "min", "limit", "budget", "remaining", "per", "cost", "price", "usd", "rate", "total", "id", "ids", "avg"}
    | {"mean", "tps", "s", "ms", "latency", "time", "type", "speed", "throughput", "text", "sum"}
)


def recognizes(shape: Shape) -> bool:
    """Whether the three columns that every trace needs have well-known names."""
    return set(_REQUIRED) <= set(_known_columns(shape))


def check(shape: Shape, mapping: Mapping[str, str]) -> None:
    """Raise TraceError if a field of a mapping is unknown, or a column of it is missing."""
    unknown = sorted(set(mapping) - set(FIELDS))
    if unknown:
        raise TraceError(f"no field {', '.join(unknown)}", where="--columns", fix=f"the fields are {', '.join(FIELDS)}")
    shape.source.require(*mapping.values())


def read(shape: Shape, mapping: Mapping[str, str] | None = None) -> RawTable:
    """Read one file.

    Args:
        shape: The file.
        mapping: Field to column; fields that are not mapped are found by their well-known names.

    Raises:
        TraceError: A field is unknown, a column is missing, or a required field has no column.
    """
    mapped = dict(mapping or {})
    check(shape, mapped)
    source = shape.source
    fields = _known_columns(shape)
    fields |= _day_and_clock(shape, fields) | mapped
    timeless = "arrival" not in fields and {"input", "output"} <= set(mapped)
    missing = [field for field in _REQUIRED if field not in fields and not (timeless and field == "arrival")]
    if missing:
        raise TraceError(
            f"no known column for {' or '.join(missing)} among {', '.join(source.columns)}",
            where=source.name,
            fix="name it: --columns " + ",".join(f"{field}=NAME" for field in missing),
        )
    units_s = {name: unit for name in ("ttft", "tpot", "e2e") if (unit := unit_by_name(plain(fields.get(name, ""))))}
    table = with_kinds(shape, fields, (*_RULES, *_interval_rules(shape, fields), *_event_rules(shape, fields)))
    return RawTable(
        table=at_once(table) if timeless else table,
        unit_s=1.0 if timeless else unit_by_name(plain(fields["arrival"])),
        units_s=units_s,
        columns=fields,
        day_first=bool(words_in(fields.get("arrival", "")) & DAY_FIRST_WORDS),
        assumptions=(*_unread(shape, fields), *_disorder(shape, fields), *([AT_ONCE] if timeless else [])),
    )


def _interval_rules(shape: Shape, fields: Mapping[str, str]) -> Iterator[AsideRule]:
    """Yield the rule that all rows are sums if their times are intervals, by name or because all are whole hours."""
    arrival = fields.get("arrival", "")
    values = shape.leaves()
    starts, ends = (values.get(fields.get(name, ""), ()) for name in ("arrival", "ended"))
    by_name = plain(arrival.rpartition(".")[2]) in _INTERVALS
    if "calls" not in fields and (by_name or are_intervals(starts, ends)):
        yield AsideRule(kind=Kind.BUCKET, column=arrival, pattern="")


def _event_rules(shape: Shape, fields: Mapping[str, str]) -> Iterator[AsideRule]:
    """Yield rules for rows without counts, of a kind that never has any: calls of tools, health checks."""
    values = shape.leaves()
    counts = [values[term] for field in _COUNTS for term in terms_of(fields[field]) if term in values]
    counted = [any(map(_is_count, row)) for row in zip(*counts, strict=True)]
    for column in _KINDS:
        kinds = [str(value).lower() for value in values.get(column, ()) if isinstance(value, str)]
        if len(kinds) != len(counted):
            continue
        with_counts = {kind for kind, has_count in zip(kinds, counted, strict=True) if has_count}
        never = sorted(kind for kind in {*kinds} - with_counts if not _GENERATES.search(kind))
        if with_counts and never and len(never) <= _MOST_KINDS:
            yield AsideRule(
                kind=Kind.EVENT, column=column, pattern=f"^({'|'.join(map(re.escape, never))})$", counted=False
            )


def _unread(shape: Shape, fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence on columns that count tokens and are not read: they may be parts, or come in addition.

    Parts of a count that is read have the same words at their end (`prompt_tokens_details.audio_tokens`).
    """
    read_whole = " ".join(fields.values())
    values = shape.leaves()
    place = fields["input"].rpartition(".")[0]
    beside = [name for name in values if place and name.rpartition(".")[0] == place]
    parts = [
        name
        for name in dict.fromkeys((*shape.source.columns, *beside))
        if name not in read_whole and _counts_tokens(name.removeprefix(place)) and any(map(_is_count, values[name]))
    ]
    if not parts:
        return ()
    listed = ", ".join(parts[:_SHOWN_PARTS])
    more = f"--columns input={fields['input']}+…,output={fields['output']}+…"
    return (
        f"not read, as parts of the other counts: {listed}; if their tokens come in addition, add them with {more}",
    )


def _disorder(shape: Shape, fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence on arrivals that look like durations."""
    arrival = fields.get("arrival", "")
    if not holds_durations(shape.leaves().get(arrival, ())):
        return ()
    return (
        f"{arrival} is taken as the time since a start, although it is in no order; if it is a duration, name another",
    )


def _counts_tokens(name: str) -> bool:
    words = set(re.split(r"[^a-z0-9]+", plain(name)))
    return bool(words & _TOKEN_WORDS) and not words & _NO_PART


def _is_count(value: object) -> bool:
    try:
        return float(str(value).replace(",", "")) > 0
    except ValueError:
        return False


def _known_columns(shape: Shape) -> dict[str, str]:
    """Return the fields whose columns have well-known names, or names that say nothing else, and values that fit."""
    values = shape.leaves()
    scalars = [name for name in reversed(shape.source.columns) if name not in shape.objects]
    present = {plain(_TYPED.sub("", name)): name for name in sorted(values.keys() - set(scalars))}
    present |= {plain(name): name for name in scalars}
    present |= {name.strip().lower(): name for name in scalars}
    known = {field: _column(field, "", present, values) or _by_words(field, values) for field in NAMES}
    if not (known["input"] and known["output"]):
        prefix, pair = _prefixed_pair(present, values)
        known |= zip(("input", "output"), pair, strict=False)
        for place in _around(prefix) if pair else ():
            known |= {field: _column(field, place, present, values) for field, name in known.items() if not name}
    beside = f"{known['input'].rpartition('.')[0]}."
    for part in ("cached", "reasoning"):
        known[part] = known[part] or _column(part, beside, present, values)
    if not are_apart(*(values.get(known[field], ()) for field in ("input", "output", "reasoning", "total"))):
        known["reasoning"] = ""
    if not known["arrival"] or holds_durations(values.get(known["arrival"], ())):
        known["arrival"] = only_dates(values) or known["arrival"]
    return {field: name for field, name in known.items() if name}


def _column(field: str, place: str, present: Mapping[str, str], values: Mapping[str, Sequence[Any]]) -> str:
    """Return the first column with a well-known name of a field and values that fit; for an arrival any, at last."""
    named = [present[place + name] for name in variants(field) if place + name in present]
    if field in _COUNTS:
        return next((name for name in named if _may_count(values.get(name, ()))), "")
    if field != "arrival" or len(named) < 2:
        return next(iter(named), "")
    dated = [name for name in named if holds_dates(values.get(name, ()))]
    if dated and plain(named[0]) in _ALSO_DURATIONS:
        return dated[0]
    return next((name for name in named if not holds_durations(values.get(name, ()))), named[0])


def _by_words(field: str, values: Mapping[str, Sequence[Any]]) -> str:
    """Return the only column whose name is made of words for a field."""
    if field == "arrival":
        return _only([name for name in values if says_time(name) and holds_dates(values[name])])
    if field not in _COUNTS:
        return ""
    return _only([name for name in values if says_tokens_of(name, field) and _may_count(values[name])])


def _prefixed_pair(
    present: Mapping[str, str], values: Mapping[str, Sequence[Any]]
) -> tuple[str, tuple[str, str] | tuple[()]]:
    """Return the prefix of well-known names of input and output, and their columns, if there is only one such pair."""
    pairs = {
        name.removesuffix(input_name): (present[name], present[output])
        for input_name, output_name in PAIRS
        for name in present
        if name.endswith((f".{input_name}", f"_{input_name}"))
        and (output := name.removesuffix(input_name) + output_name) in present
    }
    counted = {
        prefix: pair
        for prefix, pair in pairs.items()
        if not set(re.split(r"[^a-z]+", prefix)) & (_NO_PART | _NO_REQUEST)
        and all(_may_count(values.get(name, ())) for name in pair)
    }
    return next(iter(counted.items())) if len(counted) == 1 else ("", ())


def _around(prefix: str) -> Iterator[str]:
    """Yield a prefix and those of the objects around it: `a.b.llm_`, `a.b.`, `a.`."""
    yield prefix
    while "." in (prefix := prefix.rstrip(".").rpartition(".")[0]) or prefix:
        yield (prefix := f"{prefix}.")


def _only(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ""


def _may_count(column: Sequence[Any]) -> bool:
    """Whether any value is a number, or there is none."""
    present = [value for value in column if value not in (None, "")]
    return not present or any(not isinstance(value, list) and _COUNT.fullmatch(str(value).strip()) for value in present)


def _day_and_clock(shape: Shape, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the columns of day and clock of an arrival of which one column has only a part."""
    names = shape.source.columns
    columns = {name: [str(record[name]) for record in shape.records if record.get(name)] for name in names}
    clocks = [name for name, texts in columns.items() if texts and all(map(_CLOCK.fullmatch, texts))]
    taken = fields.get("arrival", "")
    clock = taken if taken in clocks else _only([name for name in clocks if says_time(name)])
    days = [taken, *(name for name in columns if plain(name) in _DAYS)]
    day = next((name for name in days if name in columns and name not in clocks and _are_days(columns[name])), "")
    return {"arrival": f"{day}+{clock}"} if day and clock else {}


def _are_days(texts: Sequence[str]) -> bool:
    return holds_dates(texts) and not any(":" in text for text in texts)
