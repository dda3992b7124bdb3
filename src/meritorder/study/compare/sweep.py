"""A sweep: a comparison for every combination of assumptions, over processes or a Ray cluster."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any, Final

import polars as pl

from meritorder.domain import Slo
from meritorder.errors import ConfigError, MeritorderError, MissingExtraError
from meritorder.records.comparison import Arrangement
from meritorder.sim.pools import Startup
from meritorder.study.compare.compare import compare
from meritorder.study.fleet.options import CompareOptions
from meritorder.traces import Trace
from meritorder.units import parse_duration_s

Point = dict[str, str]
Progress = Callable[[int, int], None]

_MAX_POINTS: Final = 10_000
_FIGURES: Final = (
    "total_usd", "usd_per_request", "usd_per_mtok", "utilization", "busy", "replica_hours", "peak_replicas",
    "ttft_p50_s", "ttft_p99_s", "tpot_p99_s", "e2e_p50_s", "e2e_p99_s", "slo_attainment", "deadlines_missed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One option to vary, and its values as the user wrote them."""

    name: str
    values: tuple[str, ...]


def _with_slo(options: CompareOptions, **changes: float) -> CompareOptions:
    slo = options.default_slo
    times = {"ttft_s": slo.ttft_s, "tpot_s": slo.tpot_s} | changes
    return replace(options, slo=Slo(attainment=slo.attainment, **times))


def _with_defer(options: CompareOptions, *, share: str | None = None, deadline: str | None = None) -> CompareOptions:
    first = options.defer[0] if options.defer else "0%@4h"
    old_share, _, old_deadline = first.partition("@")
    return replace(options, defer=(f"{share or old_share}@{deadline or old_deadline}", *options.defer[1:]))


def _seconds(text: str, name: str) -> float:
    seconds = parse_duration_s(text)
    if seconds is None or seconds < 0:
        raise ConfigError(f"{text!r} is not a duration", where=f"--vary {name}", fix="write 90s, 30m, 4h or 2d")
    return seconds


def _number(text: str, name: str) -> int:
    if not (text.isdigit() and int(text) > 0):
        raise ConfigError(f"{text!r} is not a whole number above 0", where=f"--vary {name}")
    return int(text)


def _fraction(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a number", where="--vary memory_utilization", fix="such as 0.95") from None


_SET: Final[dict[str, Callable[[CompareOptions, str], CompareOptions]]] = {
    "replicas": lambda options, value: replace(options, replicas=_number(value, "replicas")),
    "hardware": lambda options, value: replace(options, hardware=(value,)),
    "provider": lambda options, value: replace(options, providers=(value,)),
    "engine": lambda options, value: replace(options, engine=value),
    "precision": lambda options, value: replace(options, precision=value),
    "tp": lambda options, value: replace(options, tp=_number(value, "tp")),
    "max_num_seqs": lambda options, value: replace(options, max_num_seqs=_number(value, "max_num_seqs")),
    "max_num_batched_tokens": lambda options, value: replace(
        options, max_num_batched_tokens=_number(value, "max_num_batched_tokens")
    ),
    "memory_utilization": lambda options, value: replace(options, memory_utilization=_fraction(value)),
    "kv_cache_dtype": lambda options, value: replace(options, kv_cache_dtype=value),
    "startup": lambda options, value: replace(options, startup=Startup.with_total(_seconds(value, "startup"))),
    "share": lambda options, value: _with_defer(options, share=value),
    "deadline": lambda options, value: _with_defer(options, deadline=value),
    "ttft": lambda options, value: _with_slo(options, ttft_s=_seconds(value, "ttft")),
    "tpot": lambda options, value: _with_slo(options, tpot_s=_seconds(value, "tpot")),
}


def parse_axes(texts: Sequence[str]) -> list[Axis]:
    """Parse `replicas=1..8`, `hardware=h100,h200`, `share=0%,20%,40%`.

    Raises:
        ConfigError: An axis is unknown, empty or given twice, or there are too many combinations.
    """
    axes: list[Axis] = []
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in _SET:
            raise ConfigError(
                f"{text!r} cannot be varied", where="--vary", fix=f"write name=a,b,c with one of {', '.join(_SET)}"
            )
        axis = Axis(name=name, values=tuple(_expanded(values)))
        if not axis.values:
            raise ConfigError(f"{text!r} has no values", where="--vary", fix=f"write {name}=a,b,c")
        axes.append(axis)
    if len({axis.name for axis in axes}) < len(axes) or not axes:
        raise ConfigError("each name must be given once", where="--vary", fix="such as --vary share=0%,20%,40%")
    count = len(points(axes))
    if count > _MAX_POINTS:
        raise ConfigError(f"{count:,} combinations; the limit is {_MAX_POINTS:,}", where="--vary")
    return axes


def _expanded(values: str) -> Iterator[str]:
    for value in values.split(","):
        first, dots, last = value.strip().partition("..")
        if dots and first.isdigit() and last.isdigit():
            yield from map(str, range(int(first), int(last) + 1))
        elif value.strip():
            yield value.strip()


def points(axes: Sequence[Axis]) -> list[Point]:
    """Return every combination of the axes."""
    names = [axis.name for axis in axes]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes))]


def apply(options: CompareOptions, point: Point) -> CompareOptions:
    """Return the options with the values of a point.

    Raises:
        ConfigError: A value is invalid.
    """
    for name, value in point.items():
        options = _SET[name](options, value)
    share = options.defer[0].partition("@")[0].rstrip("%") if options.defer else ""
    if share and float(share) == 0:
        options = replace(options, defer=options.defer[1:])
    return options


def evaluate(trace: Trace, options: CompareOptions, point: Point) -> list[dict[str, Any]]:
    """Return the comparison at one point: a row for each arrangement, or one row with the error."""
    try:
        answer = compare(trace, apply(options, point))
    except MeritorderError as error:
        return [_row(point, None, str(error))]
    return [_row(point, arrangement, "") for arrangement in answer.arrangements]


def _row(point: Point, arrangement: Arrangement | None, error: str) -> dict[str, Any]:
    row: dict[str, Any] = dict(point)
    row["arrangement"] = arrangement.name if arrangement else None
    row["keeps_promise"] = arrangement.feasible if arrangement else None
    for name in _FIGURES:
        value = getattr(arrangement, name) if arrangement else None
        row[name] = None if value is None else float(value)
    row["error"] = error
    return row


def sweep(
    trace: Trace,
    options: CompareOptions,
    axes: Sequence[Axis],
    *,
    processes: int | None = None,
    ray_address: str = "",
    progress: Progress = lambda _done, _all: None,
) -> pl.DataFrame:
    """Return the comparisons at every combination of the axes.

    Args:
        trace: The requests.
        options: The options that no axis varies.
        axes: The options to vary.
        processes: Processes on this machine; None means one per processor.
        ray_address: Address of a Ray cluster to run on instead.
        progress: Receives how many points are done, and how many there are.

    Returns:
        A row for each point and arrangement, in the order of the points: the point's values as text, the arrangement,
        whether it meets every SLO and deadline, its figures, and the error if there is no answer.

    Raises:
        ConfigError: A value is invalid.
        MissingExtraError: Ray is requested and not installed.
    """
    all_points = points(axes)
    for point in all_points:
        apply(options, point)
    run = _on_ray(ray_address) if ray_address else _on_processes(processes or os.cpu_count() or 1)
    rows: dict[int, list[dict[str, Any]]] = {}
    for index, point_rows in run(trace, options, all_points):
        rows[index] = point_rows
        progress(len(rows), len(all_points))
    flat = [row for index in range(len(all_points)) for row in rows[index]]
    return pl.DataFrame(flat, infer_schema_length=None)


_Runner = Callable[[Trace, CompareOptions, list[Point]], Iterator[tuple[int, list[dict[str, Any]]]]]
_shared: dict[str, Any] = {}


def _share(trace: Trace, options: CompareOptions) -> None:
    """Store in a worker process what all points share."""
    _shared["trace"], _shared["options"] = trace, options


def _evaluate_shared(point: Point) -> list[dict[str, Any]]:
    return evaluate(_shared["trace"], _shared["options"], point)


def _on_processes(count: int) -> _Runner:
    def run(
        trace: Trace, options: CompareOptions, all_points: list[Point]
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        # The first point compiles the kernels for all workers. Spawn, since a fork would inherit locked threads.
        yield 0, evaluate(trace, options, all_points[0])
        if count == 1 or len(all_points) == 1:
            yield from ((index, evaluate(trace, options, point)) for index, point in enumerate(all_points) if index)
            return
        with ProcessPoolExecutor(count, get_context("spawn"), _share, (trace, options)) as pool:
            futures = {pool.submit(_evaluate_shared, point): index for index, point in enumerate(all_points) if index}
            for future in as_completed(futures):
                yield futures[future], future.result()

    return run


def _on_ray(address: str) -> _Runner:
    try:
        import ray  # noqa: PLC0415 - an extra

        from meritorder.jobs.cluster import connected  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("running on a cluster needs Ray", fix="pip install 'meritorder[ray]'") from error

    def run(
        trace: Trace, options: CompareOptions, all_points: list[Point]
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        with connected(address):
            shared = ray.put(trace), ray.put(options)
            remote = ray.remote(evaluate)
            pending = {remote.remote(*shared, point): index for index, point in enumerate(all_points)}
            while pending:
                done, _ = ray.wait(list(pending))
                for reference in done:
                    yield pending.pop(reference), ray.get(reference)

    return run
