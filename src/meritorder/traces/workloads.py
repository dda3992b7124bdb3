"""Workloads, lanes and deadlines of requests: a TOML file, `--defer`, and their assignment.

    [[workload]]
    name = "chat"
    lane = "realtime"
    match = { tenant = "web-*" }
    slo = { ttft_s = 1.0, tpot_s = 0.05, attainment = 0.99 }

    [[workload]]
    name = "evals"
    lane = "deferrable"
    deadline = "4h"
    match = { tenant = "eval*", model = "*" }
    allow = { region = "eu-*" }
    deny = { provider = ["vast", "runpod"] }

A request belongs to the first workload whose globs all match; a request without a match is real time under the default
SLO. `allow` and `deny` restrict where it may run, by provider, region and hardware; each is one glob or a list.
"""

import fnmatch
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from meritorder.deadlines import Deadline, parse_deadline
from meritorder.documents import read_file
from meritorder.domain import OWN_DEADLINE, PLACES, Access, Lane, Slo, Workload
from meritorder.errors import WorkloadsError
from meritorder.records.evidence import Assumption
from meritorder.tables import REQUESTS
from meritorder.traces.trace import Trace
from meritorder.units import format_count, utc

DEFAULT: Final = "realtime"
"""The workload of requests that match no other."""

_MATCHED: Final = tuple(column.name for column in REQUESTS if column.dtype == pl.Categorical)
_KEYS: Final = ("name", "lane", "match", "slo", "deadline", "allow", "deny")
_SLO_KEYS: Final = ("ttft_s", "tpot_s", "attainment")
_LANES: Final = tuple(lane.value for lane in Lane)
_Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferRule:
    """A share of the real-time requests that is assumed to be deferrable."""

    share: float
    deadline: Deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """Requests with their workloads and deadlines.

    Args:
        requests: REQUESTS with `workload` filled, and `deadline_s` filled in the deferrable lane and null in
            the other.
        workloads: Workloads with at least one request, in the order in which they were tried.
        assumptions: What was assumed.
        unmatched: Number of requests that match no declared workload.
    """

    requests: pl.DataFrame
    workloads: tuple[Workload, ...]
    assumptions: tuple[Assumption, ...]
    unmatched: int


def load_workloads(path: str | Path) -> tuple[Workload, ...]:
    """Read a workloads file.

    Raises:
        WorkloadsError: The file or one of its tables is invalid; names the table and key.
    """
    try:
        document = tomllib.loads(read_file(Path(path)).decode())
    except tomllib.TOMLDecodeError as error:
        raise WorkloadsError(f"is not TOML ({error})", where=str(path)) from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise WorkloadsError(f"cannot be read ({error})", where=str(path)) from None
    strange = sorted(set(document) - {"workload"})
    if strange:
        raise WorkloadsError(
            f"unknown key {strange[0]}", where=str(path), fix="the file is a list of [[workload]] tables"
        )
    entries = document.get("workload")
    if not isinstance(entries, list) or not entries:
        raise WorkloadsError("has no [[workload]] table", where=str(path))
    workloads = tuple(_workload(entry, f"{path}, workload {place}") for place, entry in enumerate(entries, start=1))
    names = [workload.name for workload in workloads]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise WorkloadsError(f"two workloads are named {twice}", where=str(path), fix="give each its own name")
    return workloads


def parse_defer(text: str) -> DeferRule:
    """Read `40%@4h` (or `0.4@4h`): a share of the real-time requests, and their deadline.

    Raises:
        WorkloadsError: It is not a share in (0, 1] and a deadline.
    """
    share_text, at, deadline_text = text.partition("@")
    try:
        share = float(share_text.strip().removesuffix("%")) / (100 if share_text.strip().endswith("%") else 1)
    except ValueError:
        share = float("nan")
    if not (at and 0 < share <= 1):
        raise WorkloadsError(f"{text!r} is not a share and a deadline", where="--defer", fix="write 40%@4h")
    try:
        return DeferRule(share=share, deadline=parse_deadline(deadline_text))
    except WorkloadsError as error:
        raise WorkloadsError(error.what, where="--defer", fix=error.fix) from None


def assign(
    trace: Trace,
    workloads: Sequence[Workload],
    default_slo: Slo,
    defer: Sequence[DeferRule] = (),
    seed: int = 0,
) -> Assigned:
    """Assign every request its workload and, in the deferrable lane, its deadline.

    A deadline in the trace is kept, unless the file declares the request real time. Shares to defer are exact,
    drawn without replacement from all real-time requests.

    Raises:
        WorkloadsError: A deadline needs dates that the trace does not have, or is past; or the shares exceed 100 %.
    """
    requests = trace.requests
    tried = [*workloads, *_fallbacks(default_slo)]
    matched = _matched(requests, workloads)
    own = requests["deadline_s"].is_not_null().to_numpy()
    taken = np.where(matched < 0, np.where(own, len(workloads), len(workloads) + 1), matched)
    unmatched = int((matched < 0).sum())
    assumptions = []
    if workloads and unmatched:
        of_all = f"{unmatched:,} of {format_count(requests.height, 'request')}"
        text = f"{of_all} match no workload and are taken as real time"
        if unmatched == 1:
            text = f"{of_all} matches no workload and is taken as real time"
        assumptions.append(Assumption(text=text, option="--workloads"))
    deferred = _deferred(tried, taken, defer, seed)
    for place, rule in enumerate(defer):
        _move_deferred(rule, np.flatnonzero(deferred == place), tried, taken)
        count = int((deferred == place).sum())
        text = (
            f"{100 * rule.share:.4g}% of the real-time requests ({count:,}, drawn with seed {seed}) are "
            f"assumed to be deferrable, deadline {rule.deadline.text}"
        )
        assumptions.append(Assumption(text=text, option="--defer"))
    due = _due(trace, tried, taken)
    used = [place for place in range(len(tried)) if (taken == place).any()]
    names = pl.Series("workload", [workload.name for workload in tried], dtype=pl.Categorical)
    filled = requests.with_columns(names.gather(taken).alias("workload"), due.alias("deadline_s"))
    return Assigned(
        requests=filled,
        workloads=tuple(tried[place] for place in used),
        assumptions=tuple(assumptions),
        unmatched=unmatched,
    )


def _fallbacks(default_slo: Slo) -> tuple[Workload, Workload]:
    return (
        Workload(name=OWN_DEADLINE, lane=Lane.DEFERRABLE, deadline="as in the trace", deferred_from=DEFAULT),
        Workload(name=DEFAULT, lane=Lane.REALTIME, slo=default_slo, assumed=True),
    )


def _matched(requests: pl.DataFrame, workloads: Sequence[Workload]) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return for each request the index of the first workload that matches it, -1 without a match."""
    place = np.full(requests.height, -1, dtype=np.intp)
    for number, workload in enumerate(workloads):
        takes = place < 0
        for column, pattern in workload.match:
            takes &= _globbed(requests[column], pattern)
        place[takes] = number
    return place


def _globbed(column: pl.Series, pattern: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Match a column against a glob by its distinct values; null matches as the empty string."""
    texts = column.cast(pl.String).fill_null("")
    hits = [value for value in texts.unique() if fnmatch.fnmatchcase(value, pattern)]
    return texts.is_in(hits).to_numpy()


def _deferred(
    tried: Sequence[Workload], taken: np.ndarray[Any, Any], defer: Sequence[DeferRule], seed: int
) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return for each request the index of the rule that defers it, -1 if it stays real time."""
    if sum(rule.share for rule in defer) > 1 + 1e-9:
        raise WorkloadsError("the shares add up to more than 100%", where="--defer", fix="reduce them")
    realtime = np.array([workload.lane is Lane.REALTIME for workload in tried])
    order = np.random.default_rng(seed).permutation(np.flatnonzero(realtime[taken])) if defer else np.empty(0, np.intp)
    place = np.full(taken.size, -1, dtype=np.intp)
    start = 0.0
    for number, rule in enumerate(defer):
        first, last = round(start * order.size), round((start + rule.share) * order.size)
        place[order[first:last]] = number
        start += rule.share
    return place


def _move_deferred(
    rule: DeferRule, rows: np.ndarray[Any, np.dtype[np.intp]], tried: list[Workload], taken: np.ndarray[Any, Any]
) -> None:
    """Move requests to deferrable workloads, one for each workload that they come from, whose SLO and access stay."""
    before = taken[rows]
    places = np.unique(before).tolist()
    for place in places:
        source = tried[place]
        taken[rows[before == place]] = len(tried)
        name = f"deferred {rule.deadline.text}"
        if source.name != DEFAULT and (len(places) > 1 or source.access != Access()):
            name += f" of {source.name}"
        while any(name == workload.name for workload in tried):
            name += "'"
        tried.append(
            Workload(
                name=name,
                lane=Lane.DEFERRABLE,
                slo=source.slo,
                deadline=rule.deadline.text,
                access=source.access,
                assumed=True,
                deferred_from=source.name,
            )
        )


def _due(trace: Trace, tried: Sequence[Workload], taken: np.ndarray[Any, Any]) -> pl.Series:
    """Return the deadline of each request: that of the trace, else of its workload; null in the real-time lane."""
    due = trace.requests["deadline_s"].to_numpy().copy()
    own = np.isfinite(due)
    for place, workload in enumerate(tried):
        if workload.lane is Lane.REALTIME:
            due[taken == place] = np.nan
        elif workload.name != OWN_DEADLINE:
            rows = np.flatnonzero((taken == place) & ~own)
            due[rows] = _deadlines(workload, trace.requests["arrived_s"].to_numpy()[rows], trace.epoch_s)
    return pl.Series("deadline_s", due, dtype=pl.Float64, nan_to_null=True)


def _deadlines(workload: Workload, arrived_s: _Floats, epoch_s: float | None) -> _Floats:
    """Return the deadlines of a workload's requests.

    Raises:
        WorkloadsError: The deadline needs the time of day, which the trace does not have, or is past when a request
            arrives.
    """
    where = f"workload {workload.name}"
    try:
        due_s = parse_deadline(workload.deadline).due_s(arrived_s, epoch_s=epoch_s)
    except WorkloadsError as error:
        raise WorkloadsError(error.what, where=where, fix=error.fix) from None
    late = int((due_s <= arrived_s).sum())
    if late:
        last = float(arrived_s.max()) + (epoch_s or 0.0)
        raise WorkloadsError(
            f"deadline {workload.deadline} is in the past for {late:,} of {arrived_s.size:,} requests",
            where=where,
            fix=f"the last of them arrives {utc(last):%Y-%m-%dT%H:%M:%SZ}; give a later time",
        )
    return due_s


def _workload(entry: object, where: str) -> Workload:
    if not isinstance(entry, dict):
        raise WorkloadsError("is not a table", where=where, fix="write [[workload]]")
    _known(entry, _KEYS, where)
    name, lane, deadline = (_text(entry, key, where) for key in ("name", "lane", "deadline"))
    if not name:
        raise WorkloadsError("has no name", where=where, fix='add name = "chat"')
    where = f"{where} ({name})"
    if lane not in _LANES:
        raise WorkloadsError(f"unknown lane {lane!r}", where=where, fix=f"the lanes are {' and '.join(_LANES)}")
    if name in {DEFAULT, OWN_DEADLINE}:
        raise WorkloadsError(
            f"the name {name!r} is taken by requests that match nothing", where=where, fix="give another"
        )
    if lane == Lane.REALTIME and deadline:
        raise WorkloadsError(
            "a realtime workload has no deadline", where=where, fix="remove it, or make the lane deferrable"
        )
    if lane == Lane.DEFERRABLE and "slo" in entry:
        raise WorkloadsError(
            "a deferrable workload has no slo", where=where, fix="remove it, or make the lane realtime"
        )
    try:
        if deadline:
            parse_deadline(deadline)
        slo = _slo(entry["slo"], where) if "slo" in entry else None
        return Workload(
            name=name,
            lane=Lane(lane),
            slo=slo,
            deadline=deadline,
            match=_match(entry.get("match", {}), where),
            access=Access.from_tables(_places(entry, "allow", where), _places(entry, "deny", where)),
        )
    except WorkloadsError as error:
        raise WorkloadsError(error.what, where=where, fix=error.fix) from None


def _known(table: dict[str, Any], keys: Sequence[str], where: str) -> None:
    strange = sorted(set(table) - set(keys))
    if strange:
        raise WorkloadsError(f"unknown key {strange[0]}", where=where, fix=f"the keys are {', '.join(keys)}")


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise WorkloadsError(f"{key} must be text, not {value!r}", where=where, fix=f'write {key} = "…"')
    return value


def _slo(value: object, where: str) -> Slo:
    if not isinstance(value, dict):
        raise WorkloadsError("slo is not a table", where=where, fix="write slo = { ttft_s = 1.0, tpot_s = 0.05 }")
    _known(value, _SLO_KEYS, where)
    missing = [key for key in _SLO_KEYS[:2] if key not in value]
    if missing:
        raise WorkloadsError(f"slo lacks {' and '.join(missing)}", where=where)
    wrong = [key for key, number in value.items() if isinstance(number, bool) or not isinstance(number, (int, float))]
    if wrong:
        raise WorkloadsError(f"slo {wrong[0]} must be a number, not {value[wrong[0]]!r}", where=where)
    return Slo(**{key: float(number) for key, number in value.items()})


def _places(entry: dict[str, Any], key: str, where: str) -> dict[str, list[str]]:
    """Read `allow` or `deny`: globs by place."""
    value, fix = entry.get(key, {}), f'write {key} = {{ region = ["eu-*"] }}'
    if not isinstance(value, dict):
        raise WorkloadsError(f"{key} is not a table", where=where, fix=fix)
    strange = sorted(set(value) - set(PLACES))
    if strange:
        raise WorkloadsError(f"unknown key {strange[0]} of {key}", where=where, fix=f"it has {', '.join(PLACES)}")
    places = {place: [globs] if isinstance(globs, str) else globs for place, globs in value.items()}
    for place, globs in places.items():
        if not isinstance(globs, list) or not globs or not all(isinstance(glob, str) and glob for glob in globs):
            raise WorkloadsError(f"{key} {place} must be names, not {value[place]!r}", where=where, fix=fix)
    return {place: [glob.lower() for glob in globs] for place, globs in places.items()}


def _match(value: object, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise WorkloadsError("match is not a table", where=where, fix='write match = { tenant = "eval*" }')
    strange = sorted(set(value) - set(_MATCHED))
    if strange:
        raise WorkloadsError(f"unknown column {strange[0]}", where=where, fix=f"the columns are {', '.join(_MATCHED)}")
    wrong = [column for column, pattern in value.items() if not isinstance(pattern, str)]
    if wrong:
        raise WorkloadsError(f"match {wrong[0]} must be text, not {value[wrong[0]]!r}", where=where)
    return tuple(value.items())
