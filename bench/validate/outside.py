"""Sections of the page on measurements of others: published throughputs, intervals, and other versions of engines."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from bench.validate.intervals import Point, coverage, other_versions
from bench.validate.markdown import share, table
from bench.validate.published import Published
from meritorder.perf.accuracy import SOURCE_SPREAD, log_range
from meritorder.perf.shipped import shipped_errors, shipped_profiles
from meritorder.perf.versions import Engine

_PUBLISHED: Final = (
    "Throughputs of saturated servers that others have published, with their engines' defaults; no fit has seen one. "
    "Each is simulated as `compare` runs, with the limits, the memory and the correction that it uses. Where a number "
    "of requests is stated, that many are sent at once; else the replica is saturated. A positive error is too fast, "
    "so too cheap. The range is that which `compare` states to hold eight in ten for the version measured; it is bold "
    "where it does not hold the error.\n\n"
    "GPUStack names its GPUs H100. At a batch of one a token of Qwen3-32B takes 43.4 ms there: 1.7 TB/s, which is 85 % "
    "of what an H100 PCIe reads and half of an H100 SXM; on the page where it names an H100 SXM, Qwen3-8B reads "
    "2.2 TB/s, more than an H100 PCIe can. Its points are of an H100 PCIe here; `as named` has the errors on an "
    "H100 SXM. GPUStack measured vLLM 0.10 and 0.11, SGLang 0.5.3 to 0.5.5 and TensorRT-LLM 1.0 to 1.2.\n"
)
_INTERVALS: Final = (
    "The range of a dollar is to hold eight in ten points of a source that it has not seen. It has the errors of the "
    "most specific group with ten points: of what the speed was corrected by, then engine, then hardware; drawn toward "
    "all errors the more the fewer points the group has, widened by {spread:.2f} in the logarithm for what sources "
    "differ (`perf.accuracy.SOURCE_SPREAD`), and for the time between the versions measured and simulated. Each "
    "source is left out once, beside one constant interval of all other points. A lower score is better.\n"
)
_KINDS: Final = (
    "Speeds without a correction have the errors of their kind. Servers take {slower:.2f} times as long as data sheets "
    "promise, in the median; a roofline is slowed by that. A GPU that is scaled from another by data sheets has the "
    "errors of all.\n"
)
_VERSIONS: Final = (
    "The tables are of {tables}. A speed that is corrected to measured servers is that of their engine, in the middle "
    "of their versions. Engines become faster: where the version measured is not the one simulated, the range reaches "
    "as much higher for each month that it is older, or lower if newer, as holds such points best (the lowest interval "
    "score). A minor version of vLLM and a patch of SGLang take 0.8 months, a minor version of TensorRT-LLM 3.3 "
    "(`perf.versions`). Each source below is held by what the others teach; what ships is learned from all: {shipped} "
    "a month.\n"
)


def sections(found: Sequence[Published], points: Sequence[Point]) -> list[str]:
    """Return the sections.

    Args:
        found: The published throughputs.
        points: All errors that no fit has seen.
    """
    return [*_published(found), *_intervals(points), *_versions(points)]


def _published(found: Sequence[Published]) -> list[str]:
    """Return the errors on published throughputs, by engine and one by one."""
    known = [result for result in found if result.error is not None]
    if not known:
        return []
    lines = []
    for engine in ("", *sorted({result.engine for result in known})):
        here = [result for result in known if engine in {"", result.engine}]
        errors = np.array([result.error for result in here])
        named = np.array([(result.as_named or 0) / result.measured - 1 for result in here])
        lines.append(
            (
                engine or "all",
                str(len(here)),
                share(float(np.median(np.abs(errors)))),
                f"{np.median(errors):+.1%}",
                share(float(np.quantile(np.abs(errors), 0.9))),
                share(float(np.mean([result.is_held for result in here]))),
                f"{np.median(np.abs(named)):.1%}, {np.median(named):+.1%}",
            )
        )
    rows = [(result.source, result.label, result.lengths, f"{result.measured:,.0f}", *result.cells) for result in found]
    head = ("engine", "points", "median error", "bias", "p90", "held by its range", "median and bias as named")
    return [
        "## Published throughputs\n",
        _PUBLISHED,
        table(head, lines),
        table(("source", "server", "tokens", "measured", "simulated", "as named", "error", "range"), rows),
    ]


def _intervals(points: Sequence[Point]) -> list[str]:
    rows = [
        (
            row.source,
            str(row.points),
            *(share(row.held), f"{row.score:.2f}", share(row.constant_held), f"{row.constant_score:.2f}"),
        )
        for row in coverage(points)
    ]
    head = ("source left out", "points", "held", "interval score", "held by the constant one", "its score")
    errors = shipped_errors()
    kinds = []
    for residuals in (errors.all, *errors.tables.values(), errors.roofline):
        low, high = np.expm1(log_range(np.log(residuals.pace_ratios), SOURCE_SPREAD))
        kinds.append((residuals.basis, f"{low:+.0%} to {high:+.0%}"))
    return [
        "## Intervals\n",
        _INTERVALS.format(spread=SOURCE_SPREAD),
        table(head, rows),
        _KINDS.format(slower=errors.roofline_slower),
        table(("errors of", "eight in ten"), kinds),
    ]


def _versions(points: Sequence[Point]) -> list[str]:
    """Return what versions the speeds are of, and how points of other versions are held."""
    rows = [
        (
            *(Engine(row.engine).label, row.source, f"{row.months[0]:+.1f} to {row.months[1]:+.1f}", str(row.points)),
            *(f"{np.expm1(row.error):+.0%}", f"{np.expm1(row.per_month):.1%}"),
            *(share(row.plain_held), share(row.held)),
        )
        for row in other_versions(points)
    ]
    tables: dict[str, list[str]] = {}
    for profile in shipped_profiles():
        here = tables.setdefault(Engine(profile.engine, profile.engine_version).label, [])
        if profile.hardware not in here:
            here.append(profile.hardware)
    described = "; ".join(f"{label} ({', '.join(hardware)})" for label, hardware in sorted(tables.items()))
    shipped = f"{np.expm1(shipped_errors().per_month):.1%}"
    head = (
        *("engine", "source", "months older", "points", "median slower"),
        *("widened for one", "held without", "held with it"),
    )
    return ["## Versions of engines\n", _VERSIONS.format(tables=described, shipped=shipped), table(head, rows)]
