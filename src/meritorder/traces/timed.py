"""Logs of measured requests, the input of a calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder.errors import TraceError
from meritorder.traces.sources import Source, opened
from meritorder.units import MS_PER_S

Floats = NDArray[np.float64]
Tokens = NDArray[np.int32]

_LENGTHS: Final = {
    "input_tokens": ("input_tokens", "input_toks", "prompt_tokens", "input_len", "input_length", "prompt_len", "isl"),
    "output_tokens": ("output_tokens", "output_toks", "completion_tokens", "output_len", "output_length", "osl"),
    "cached_tokens": ("cached_tokens", "cached_input_tokens", "prefix_tokens"),
    "replicas": ("dp", "replicas", "data_parallel_size"),
    "gpus": ("tp", "gpus", "tensor_parallel_size"),
}
_TIMES: Final = {
    "arrived": ("arrival", "arrived", "arrival_time", "arrived_at", "start", "start_time", "timestamp"),
    "ttft": ("ttft", "time_to_first_token"),
    "tpot": ("tpot", "time_per_output_token", "mean_itl", "itl"),
    "e2e": ("e2e", "e2e_latency", "e2el", "latency", "duration", "request_latency"),
}
_NAMES: Final = {
    "config": ("config", "setup", "run"),
    "model": ("model", "model_name"),
    "hardware": ("hardware", "gpu", "accelerator"),
}
_UNITS: Final = {"": 1.0, "_s": 1.0, "_ms": 1 / MS_PER_S, "_us": MS_PER_S**-2, "_ns": MS_PER_S**-3}


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

    def __len__(self) -> int:
        return len(self.arrived_s)


def read_timed(sources: Sequence[str], config: str = "") -> tuple[TimedLog, ...]:
    """Read measured requests from CSV, JSON lines or Parquet, one log for each configuration in them.

    The suffix of a column's name states its unit (`ttft_ms`, `e2e_s`); without one it is in seconds. Two of TTFT, TPOT
    and E2E are enough.

    Args:
        sources: Paths or globs.
        config: Name of the only configuration to read; "" reads all.

    Raises:
        TraceError: A column is missing, no row is usable, or the configuration is not in the log.
    """
    logs: list[TimedLog] = []
    with opened(sources) as files:
        for source in files:
            rows = _rows(source)
            names = rows["config"].unique(maintain_order=True).to_list()
            logs += [
                _log(name or source.name, rows.filter(pl.col("config").eq_missing(name)), source) for name in names
            ]
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


def _rows(source: Source) -> pl.DataFrame:
    """Return the known columns, numbers as Float64 and times in seconds; null where the file has none."""
    plain = {column.lower(): column for column in source.columns}
    wanted = {
        name: next((plain[alias] for alias in aliases if alias in plain), "")
        for name, aliases in (_LENGTHS | _NAMES).items()
    }
    scales: dict[str, float] = {}
    for name, aliases in _TIMES.items():
        wanted[name] = ""
        for column, scale in ((f"{alias}{unit}", scale) for alias in aliases for unit, scale in _UNITS.items()):
            if column in plain:
                wanted[name], scales[name] = plain[column], scale
                break
    _require(source, wanted)
    table = source.table({name: column for name, column in wanted.items() if column})
    rows = table.with_columns(pl.lit(None).alias(name) for name, column in wanted.items() if not column).collect()
    return rows.select(
        *(pl.col(name).cast(pl.String).fill_null("") for name in _NAMES),
        *(pl.col(name).cast(pl.Float64, strict=False) for name in _LENGTHS),
        *(pl.col(name).cast(pl.Float64, strict=False) * scales.get(name, 1.0) for name in _TIMES),
    )


def _require(source: Source, wanted: dict[str, str]) -> None:
    present = f"the file has {', '.join(source.columns)}"
    for name in ("arrived", "input_tokens", "output_tokens"):
        if not wanted[name]:
            aliases = (_TIMES | _LENGTHS)[name]
            raise TraceError(f"no column for {name}", where=source.name, fix=f"call it {aliases[0]}; {present}")
    if sum(bool(wanted[name]) for name in ("ttft", "tpot", "e2e")) < 2:
        fix = f"two of ttft_s, tpot_s and e2e_s (or _ms) are needed; {present}"
        raise TraceError("too few times to fit a profile", where=source.name, fix=fix)


def _log(name: str, rows: pl.DataFrame, source: Source) -> TimedLog:
    steps = pl.col("output_tokens") - 1
    timed = rows.with_columns(
        ttft=pl.coalesce("ttft", pl.col("e2e") - pl.col("tpot") * steps),
        e2e=pl.coalesce("e2e", pl.col("ttft") + pl.when(steps > 0).then(pl.col("tpot") * steps).otherwise(0.0)),
    ).with_columns(tpot=pl.when(steps > 0).then((pl.col("e2e") - pl.col("ttft")) / steps))
    good = timed.filter(
        pl.col("arrived").is_finite(),
        pl.col("input_tokens") >= 1,
        pl.col("output_tokens") >= 1,
        pl.col("ttft") > 0,
        pl.col("e2e") >= pl.col("ttft"),
    ).sort("arrived", maintain_order=True)
    if good.is_empty():
        raise TraceError(f"none of {rows.height} rows of {name} has an arrival, lengths and times", where=source.name)
    arrived = good["arrived"].to_numpy()
    inputs = good["input_tokens"].to_numpy().astype(np.int32)
    cached = good["cached_tokens"].fill_null(0).to_numpy().astype(np.int32)
    gpus, replicas = good["gpus"].max(), good["replicas"].max()
    return TimedLog(
        name=name,
        model=_only(good["model"]),
        hardware=_only(good["hardware"]),
        gpus=int(float(str(gpus))) if gpus is not None else None,
        replicas=int(float(str(replicas))) if replicas is not None else 1,
        arrived_s=arrived - arrived[0],
        input_tokens=inputs,
        cached_tokens=np.clip(cached, 0, inputs - 1),
        output_tokens=good["output_tokens"].to_numpy().astype(np.int32),
        ttft_s=good["ttft"].to_numpy(),
        tpot_s=good["tpot"].fill_null(np.nan).to_numpy(),
        e2e_s=good["e2e"].to_numpy(),
        dropped=rows.height - good.height,
    )


def _only(names: pl.Series) -> str:
    """Return the only name, or "" if there are several."""
    distinct = names.unique().to_list()
    return str(distinct[0]) if len(distinct) == 1 else ""
