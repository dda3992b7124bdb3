"""Multiply the rate of a trace: `--scale`."""

import math
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl

from meritorder.errors import TraceError
from meritorder.traces.trace import Trace
from meritorder.traces.window import rebased
from meritorder.units import SECONDS_PER_MINUTE, format_duration

_LARGEST_SHIFT_S: Final = 10 * SECONDS_PER_MINUTE
_LARGEST_SHIFT_OF_SPAN: Final = 0.02


def scaled(trace: Trace, factor: float, *, seed: int) -> Trace:
    """Return a trace with `factor` times the requests in the same span.

    Whole copies are shifted in time, each by its own draw from ±min(10 min, 2 % of the span), and wrap around
    the span, so that copies do not arrive in step but the hour of the day stays. The first copy stays in
    place. A fraction is a sample without replacement. Sessions of different copies are different sessions.

    Args:
        trace: What to scale.
        factor: Rate of the result / rate of the trace.
        seed: Of shifts and sample.

    Raises:
        TraceError: The factor is not a positive number, or so small that nothing is left.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise TraceError(f"the rate cannot be multiplied by {factor}", where="--scale", fix="give a positive number")
    if factor == 1:
        return trace
    random = np.random.default_rng(seed)
    whole, part = int(factor), factor - int(factor)
    span_s = trace.span_s
    shift_s = min(_LARGEST_SHIFT_S, _LARGEST_SHIFT_OF_SPAN * span_s)
    copies = [trace.requests] if whole else []
    copies += [_copy(trace.requests, number, random.uniform(-shift_s, shift_s), span_s) for number in range(1, whole)]
    if part:
        drawn = _sample(trace.requests, part, random)
        copies.append(_copy(drawn, whole, random.uniform(-shift_s, shift_s), span_s) if whole else drawn)
    requests = pl.concat(copies)
    if requests.is_empty():
        raise TraceError(f"nothing is left of {trace.requests.height:,} requests at {factor:g}", where="--scale")
    text = f"the rate is multiplied by {factor:g}, seed {seed}: " + (
        f"each copy is shifted by its own time within ±{format_duration(shift_s)} and wraps around the span"
        if whole
        else "a sample of the requests"
    )
    report = replace(trace.report, assumptions=(*trace.report.assumptions, text))
    ordered = requests.sort("arrived_s", maintain_order=True) if len(copies) > 1 else requests
    return rebased(replace(trace, requests=ordered, report=report))


def _copy(requests: pl.DataFrame, number: int, shift_s: float, span_s: float) -> pl.DataFrame:
    """Return the requests shifted in time, wrapped into the span, in sessions of their own."""
    arrived = pl.col("arrived_s")
    moved = (arrived + shift_s) % span_s if span_s else arrived
    columns = [moved.alias("arrived_s"), (pl.col("deadline_s") - arrived + moved).alias("deadline_s")]
    if requests["session"].null_count() < requests.height:
        renamed = pl.col("session").cast(pl.String) + f"#{number}"
        columns.append(renamed.cast(pl.Categorical).alias("session"))
    return requests.with_columns(columns)


def _sample(requests: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """Return a share of the requests, drawn without replacement, in order."""
    drawn = random.choice(requests.height, size=round(share * requests.height), replace=False, shuffle=False)
    return requests[np.sort(drawn)]
