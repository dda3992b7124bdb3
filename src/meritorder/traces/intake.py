"""From a reader's raw columns to REQUESTS: numbers, times, and an account of what is not a request."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from meritorder.errors import TraceError
from meritorder.tables import REQUESTS
from meritorder.traces import clock
from meritorder.traces.files import File
from meritorder.traces.trace import FAILED, SHOWN_BAD_ROWS, BadRow

MOST_TOKENS: Final = 10_000_000
"""More tokens in one request are absurd: ten times the longest context on the market in 2026."""

RESPONSE_CACHE: Final = "answered from a response cache"
NO_GENERATION: Final = "calls that generate no text"
ASIDE: Final = (FAILED, RESPONSE_CACHE, NO_GENERATION)
"""Why a well-formed row is not a request; a reader's column `aside` holds the text, or null."""

_REQUIRED: Final = ("arrival", "input", "output")
_WORDS: Final = ("model", "tenant", "session", "workload")
_SAMPLE_ROWS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """What a reader gives.

    Args:
        table: Columns `line, arrival, input, output` and any of `cached, deadline, model, tenant, session,
            workload`, `aside` (why the row is no request) and `broken` (the row cannot be read at all).
            Numbers may be text.
        unit_s: Seconds in one unit of a number in `arrival`, where the format says; None tells it from the
            magnitude.
        assumptions: What the reader took that the file does not say.
        estimated_tokens: True if token counts are estimates.
    """

    table: pl.LazyFrame
    unit_s: float | None = None
    assumptions: tuple[str, ...] = ()
    estimated_tokens: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """One file's requests on its own clock, unsorted, and what became of its other rows."""

    requests: pl.DataFrame
    absolute: bool
    rows: int
    bad: dict[str, int]
    first_bad: tuple[BadRow, ...]
    set_aside: dict[str, int]
    assumptions: tuple[str, ...]


def take(file: File, raw: Raw) -> Intake:
    """Read a raw table into REQUESTS.

    Raises:
        TraceError: The table cannot be read, or has no rows, or no column tells the time.
    """
    try:
        table = _trimmed(raw.table)
        columns = table.collect_schema().names()
        arrival = _clock(file, table, "arrival", raw.unit_s)
        deadline = _clock(file, table, "deadline", raw.unit_s) if "deadline" in columns else None
        if deadline is not None and deadline.told and deadline.absolute != arrival.absolute:
            what = "deadlines and arrivals are not on one clock"
            raise TraceError(what, where=file.name, fix="give both as ISO 8601")
        typed = table.select(_typed(columns, arrival, deadline))
        frame = typed.select(_judged(columns)).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise TraceError(f"cannot be read as {file.kind} ({reason})", where=file.name) from error
    if frame.is_empty():
        raise TraceError("has no requests", where=file.name)
    assumptions = list(raw.assumptions)
    if arrival.zone_assumed:
        assumptions.append("times without a zone are taken as UTC")
    return _sorted_out(file, frame, absolute=arrival.absolute, assumptions=tuple(assumptions))


def _trimmed(table: pl.LazyFrame) -> pl.LazyFrame:
    """Strip white space off text; what is blank is null."""
    texts = [name for name, dtype in table.collect_schema().items() if dtype == pl.String]
    stripped = {name: pl.col(name).str.strip_chars() for name in texts}
    return table.with_columns(**{name: pl.when(text != "").then(text) for name, text in stripped.items()})


def _clock(file: File, table: pl.LazyFrame, column: str, unit_s: float | None) -> clock.Clock:
    samples = table.select(pl.col(column).drop_nulls().head(_SAMPLE_ROWS)).collect(engine="streaming")
    return clock.find(samples[column], unit_s=unit_s, where=f"{file.name}, column {column}")


def _typed(columns: list[str], arrival: clock.Clock, deadline: clock.Clock | None) -> list[pl.Expr]:
    """Give every column its type; what could not be read is null and stays visible as `<name>_given`."""
    typed = [pl.col("line"), arrival.seconds(pl.col("arrival")).alias("arrival"), _given("arrival")]
    for name in ("input", "output", "cached"):
        if name in columns:
            typed += [clock.number(pl.col(name)).alias(name), _given(name)]
    if deadline is not None:
        typed += [deadline.seconds(pl.col("deadline")).alias("deadline"), _given("deadline")]
    for name in _WORDS:
        word = pl.col(name).cast(pl.String) if name in columns else pl.lit(None, pl.String)
        typed.append(word.cast(pl.Categorical).alias(name))
    typed.append(pl.col("aside") if "aside" in columns else pl.lit(None, pl.String).alias("aside"))
    typed.append(pl.col("broken") if "broken" in columns else pl.lit(value=False).alias("broken"))
    return typed


def _given(name: str) -> pl.Expr:
    return pl.col(name).is_not_null().alias(f"{name}_given")


def _judged(columns: list[str]) -> list[pl.Expr]:
    """Judge each row by the first thing that is wrong with it, and give REQUESTS their types."""
    faults = _faults(columns)
    aside = pl.when(pl.col("aside").is_not_null()).then(pl.col("aside"))
    fault: pl.Expr = pl.coalesce(pl.when(wrong).then(pl.lit(reason)) for reason, wrong in faults)
    failed = pl.when(pl.col("output") == 0).then(pl.lit(FAILED))
    verdict = pl.Enum([*dict.fromkeys((*(reason for reason, _ in faults), *ASIDE))])
    cached = pl.col("cached").fill_null(0) if "cached" in columns else pl.lit(0.0)
    broken = pl.when(pl.col("broken")).then(pl.lit(faults[0][0]))
    return [
        pl.col("line"),
        pl.coalesce(broken, aside, fault, failed).cast(verdict).alias("verdict"),
        pl.col("arrival").alias("arrived_s"),
        _tokens(pl.col("input")).alias("input_tokens"),
        _tokens(pl.min_horizontal(cached, pl.col("input") - 1)).alias("cached_tokens"),
        _tokens(pl.col("output")).alias("output_tokens"),
        *(pl.col(name) for name in _WORDS),
        (pl.col("deadline") if "deadline" in columns else pl.lit(None, pl.Float64)).alias("deadline_s"),
    ]


def _tokens(column: pl.Expr) -> pl.Expr:
    return column.cast(pl.Int32, strict=False)


def _faults(columns: list[str]) -> list[tuple[str, pl.Expr]]:
    """Return what can be wrong with a row, in the order in which it is told."""
    faults = [
        ("not a JSON object", pl.col("broken")),
        ("empty row", ~pl.any_horizontal(f"{name}_given" for name in _REQUIRED)),
        ("no arrival time", ~pl.col("arrival_given")),
        ("unreadable arrival time", ~pl.col("arrival").is_finite().fill_null(value=False)),
        ("negative arrival time", pl.col("arrival") < 0),
    ]
    for name in ("input", "output", "cached"):
        if name not in columns:
            continue
        value = pl.col(name)
        if name != "cached":
            faults.append((f"no {name} tokens", ~pl.col(f"{name}_given")))
        unreadable = pl.col(f"{name}_given") & ~(value == value.floor()).fill_null(value=False)
        faults += [
            (f"unreadable {name} tokens", unreadable | value.is_nan()),
            (f"negative {name} tokens", value < 0),
            (f"more than {MOST_TOKENS:,} {name} tokens", value > MOST_TOKENS),
        ]
    faults.append(("zero input tokens", pl.col("input") == 0))
    if "deadline" in columns:
        late = pl.col("deadline") <= pl.col("arrival")
        unread = pl.col("deadline_given") & pl.col("deadline").is_null()
        faults += [("unreadable deadline", unread), ("deadline before arrival", late)]
    return faults


def _sorted_out(file: File, frame: pl.DataFrame, *, absolute: bool, assumptions: tuple[str, ...]) -> Intake:
    names = [column.name for column in REQUESTS]
    rows = frame.height
    if not frame["verdict"].is_not_null().any():
        return Intake(
            requests=frame.select(names),
            absolute=absolute,
            rows=rows,
            bad={},
            first_bad=(),
            set_aside={},
            assumptions=assumptions,
        )
    verdicts = (
        frame.filter(pl.col("verdict").is_not_null()).select("line", pl.col("verdict").cast(pl.String)).sort("line")
    )
    counts = dict(verdicts.group_by("verdict", maintain_order=True).len().iter_rows())
    shown = verdicts.filter(~pl.col("verdict").is_in(ASIDE)).head(SHOWN_BAD_ROWS)
    return Intake(
        requests=frame.filter(pl.col("verdict").is_null()).select(names),
        absolute=absolute,
        rows=rows,
        bad={reason: count for reason, count in counts.items() if reason not in ASIDE},
        first_bad=tuple(BadRow(file=file.name, line=line, reason=reason) for line, reason in shown.iter_rows()),
        set_aside={reason: count for reason, count in counts.items() if reason in ASIDE},
        assumptions=assumptions,
    )
