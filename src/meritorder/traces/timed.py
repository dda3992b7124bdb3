"""Logs of measured requests, the input of a calibration: every trace with at least two of TTFT, TPOT and E2E."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder.errors import TraceError
from meritorder.traces import formats
from meritorder.traces.intake import RawTable, to_requests
from meritorder.traces.sources import Source, opened
from meritorder.units import MS_PER_S

Floats = NDArray[np.float64]
Tokens = NDArray[np.int32]

_DURATIONS: Final = ("ttft", "tpot", "e2e")
_INSTANTS: Final = ("started", "first", "ended")
_DEPLOYMENT: Final = ("config", "hardware", "gpus", "replicas")
_UNITS: Final = {"s": 1.0, "ms": 1 / MS_PER_S, "\u00b5s": MS_PER_S**-2, "ns": MS_PER_S**-3}
MAX_TOKEN_S: Final = 1.0
"""No engine takes longer for a token, so times without a unit that say so are not in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedLog:
    """Requests of one configuration with their measured times, shape (requests,), sorted by arrival.

    Args:
        name: Name of the configuration, or the file.
        model: Model as the log names it, or "".
        hardware: Accelerator as the log names it, or "".
        gpus: GPUs of a replica; None if the log does not state it.
        replicas: Number of replicas that served the requests.
        arrived_s: Arrival, 0 at the first.
        input_tokens: Prompt length.
        cached_tokens: Prompt tokens read from a prefix cache.
        output_tokens: Generated tokens.
        ttft_s: Time to first token.
        tpot_s: Time per output token, nan at one token.
        e2e_s: Time from arrival to the last token.
        dropped: Number of unusable rows.
        columns: Fields and the columns that they were read from.
        notes: What was assumed to read it.
    """

    name: str
    model: str
    hardware: str
    gpus: int | None
    replicas: int
    arrived_s: Floats
    input_tokens: Tokens
    cached_tokens: Tokens
    output_tokens: Tokens
    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats
    dropped: int = 0
    columns: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.arrived_s)

    def to_csv(self) -> str:
        """Return the requests as a CSV that `read_timed` reads."""
        names = ("arrived_s", "input_tokens", "cached_tokens", "output_tokens", "ttft_s", "tpot_s", "e2e_s")
        return (
            pl.DataFrame({name: getattr(self, name) for name in names})
            .with_columns(pl.all().fill_nan(None))
            .write_csv()
        )


def read_timed(
    sources: Sequence[str],
    config: str = "",
    *,
    format: str | None = None,  # noqa: A002  (the name of the option)
    columns: Mapping[str, str] | None = None,
) -> tuple[TimedLog, ...]:
    """Read measured requests in any trace format, one log for each configuration in them.

    The suffix of a column's name states its unit (`ttft_ms`, `e2e_s`); without one it follows from the values. Two of
    TTFT, TPOT and E2E are enough; instants of the first and the last token will do.

    Args:
        sources: Paths or globs.
        config: Name of the only configuration to read; "" reads all.
        format: Name of the format; None detects it.
        columns: Field to column.

    Raises:
        TraceError: A column is missing, no row is usable, or the configuration is not in the log.
    """
    logs: list[TimedLog] = []
    with opened(sources) as files:
        for source in files:
            for _, raw in formats.read(source, name=format, mapping=columns):
                logs += _logs(source, raw)
    if config:
        chosen = tuple(log for log in logs if log.name == config)
        if not chosen:
            raise TraceError(
                f"no configuration {config!r}",
                where="--config",
                fix=f"the log has {', '.join(log.name for log in logs)}",
            )
        return chosen
    return tuple(logs)


def _logs(source: Source, raw: RawTable) -> list[TimedLog]:
    _require_times(source, raw)
    part = to_requests(source, raw, timed=True)
    rows = part.judged.requests
    missing = [name for name in (*_DURATIONS, *_INSTANTS) if name not in rows.columns]
    rows = rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in missing)
    names = [name for name in _DEPLOYMENT if name not in rows.columns]
    rows = rows.with_columns(pl.lit(None, pl.String).alias(name) for name in names)
    rows, notes = _in_seconds(rows, raw)
    columns = ", ".join(f"{field}={column}" for field, column in raw.columns.items())
    configs = rows["config"].unique(maintain_order=True).to_list() or [None]
    other = part.judged.rows - rows.height
    stated = (*part.assumptions, *notes)
    return [
        _log(
            config or source.name,
            rows.filter(pl.col("config").eq_missing(config)),
            source,
            other=other if len(configs) == 1 else 0,
            columns=columns,
            notes=stated,
        )
        for config in configs
    ]


def _require_times(source: Source, raw: RawTable) -> None:
    schema = raw.table.collect_schema()
    known = {
        "ttft": "ttft" in schema or "first" in schema,
        "tpot": "tpot" in schema,
        "e2e": "e2e" in schema or "ended" in schema,
    }
    if sum(known.values()) < 2:
        present = [name for name, is_known in known.items() if is_known]
        raise TraceError(
            f"too few times to fit a profile: it has {', '.join(present) or 'none'} of ttft, tpot and e2e",
            where=source.name,
            fix=f"two are needed; name them: --columns ttft=NAME,e2e=NAME; the file has {', '.join(source.columns)}",
        )


def _in_seconds(rows: pl.DataFrame, raw: RawTable) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the rows with all times in seconds since the arrival, and what was assumed about their unit."""
    known = dict(raw.units_s)
    unknown = [name for name in _DURATIONS if name not in known and rows[name].null_count() < rows.height]
    notes: tuple[str, ...] = ()
    if unknown:
        unit, text = _unit_of(rows, unknown)
        known |= dict.fromkeys(unknown, _UNITS[unit])
        notes = (text,) if text else ()
    start = pl.coalesce("started", "arrived_s")
    durations = rows.with_columns(pl.col(name) * known.get(name, 1.0) for name in _DURATIONS)
    return durations.with_columns(
        ttft=pl.coalesce("ttft", pl.col("first") - start),
        e2e=pl.coalesce("e2e", pl.col("ended") - start),
        arrived=start,
    ), notes


def _unit_of(rows: pl.DataFrame, unknown: list[str]) -> tuple[str, str]:
    """Return the unit of times without one: the largest in which a token takes no longer than on any engine."""
    steps = pl.col("output_tokens").clip(1)
    per_token = {"tpot": pl.col("tpot"), "e2e": pl.col("e2e") / steps, "ttft": pl.col("ttft") / pl.col("input_tokens")}
    name = next(name for name in per_token if name in unknown)
    middle = rows.select(per_token[name].median()).item()
    if middle is None:
        return "s", ""
    unit = next((unit for unit, seconds in _UNITS.items() if middle * seconds <= MAX_TOKEN_S), "ns")
    if unit == "s":
        return unit, ""
    listed = ", ".join(unknown)
    return unit, f"{listed} are taken as {unit}: in s, a token would take {middle:,.3g} s"


def _log(
    name: str, rows: pl.DataFrame, source: Source, *, other: int, columns: str, notes: tuple[str, ...]
) -> TimedLog:
    steps = pl.col("output_tokens") - 1
    timed = rows.with_columns(
        ttft=pl.coalesce("ttft", pl.col("e2e") - pl.col("tpot") * steps),
        e2e=pl.coalesce("e2e", pl.col("ttft") + pl.when(steps > 0).then(pl.col("tpot") * steps).otherwise(0.0)),
    ).with_columns(tpot=pl.when(steps > 0).then((pl.col("e2e") - pl.col("ttft")) / steps))
    good = timed.filter(pl.col("ttft") > 0, pl.col("e2e") >= pl.col("ttft")).sort("arrived", maintain_order=True)
    if good.is_empty():
        count = rows.height + other
        shorter = timed.filter(pl.col("e2e") < pl.col("ttft")).height
        if 2 * shorter > count:
            what = f"e2e is shorter than ttft in {shorter} of {count} rows of {name}"
            raise TraceError(what, where=source.name, fix="name the columns, --columns ttft=NAME,e2e=NAME")
        raise TraceError(f"none of {count} rows of {name} has an arrival, lengths and times", where=source.name)
    arrived = good["arrived"].to_numpy()
    inputs = good["input_tokens"].to_numpy().astype(np.int32)
    gpus, replicas = (good[column].cast(pl.Float64, strict=False).max() for column in ("gpus", "replicas"))
    return TimedLog(
        name=name,
        model=_only(good["model"]),
        hardware=_only(good["hardware"]),
        gpus=int(float(str(gpus))) if gpus is not None else None,
        replicas=int(float(str(replicas))) if replicas is not None else 1,
        arrived_s=arrived - arrived[0],
        input_tokens=inputs,
        cached_tokens=good["cached_tokens"].to_numpy().astype(np.int32),
        output_tokens=good["output_tokens"].to_numpy().astype(np.int32),
        ttft_s=good["ttft"].to_numpy(),
        tpot_s=good["tpot"].fill_null(np.nan).to_numpy(),
        e2e_s=good["e2e"].to_numpy(),
        dropped=rows.height - good.height + other,
        columns=columns,
        notes=notes,
    )


def _only(names: pl.Series) -> str:
    """Return the only name, or "" if there are several."""
    distinct = names.drop_nulls().unique().to_list()
    return str(distinct[0]) if len(distinct) == 1 else ""
