"""Plans of random loads against `compare`: one real time, no plan above a known arrangement, no bound above one."""

import argparse
import math
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from meritorder import catalog as facts
from meritorder.errors import MeritorderError
from meritorder.records import planfile
from meritorder.records.planproof import InHindsight
from meritorder.report import files
from meritorder.sim.pools import Fixed
from meritorder.study.compare.compare import compare
from meritorder.study.fleet.fleets import rejudge, simulate_fleet
from meritorder.study.fleet.machines import max_backfill, unrestricted_backfill
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.fleet.search import build_search
from meritorder.study.fleet.workloads import assign_workloads
from meritorder.study.plan.answer import plan
from meritorder.study.plan.replay import replay
from meritorder.study.schedule.options import PlanOptions
from meritorder.traces import Trace
from meritorder.traces.read import read_trace
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, format_count, format_duration

Floats = NDArray[np.float64]

LOADS: Final = 40
MOST_REQUESTS: Final = 3_000
MOST_WORKLOADS: Final = 20
ARRIVALS: Final = ("poisson", "bursts", "clockwork", "day")
SPANS_H: Final = (0.5, 2, 8, 24, 48)
DEADLINES: Final = ("1m", "10m", "1h", "4h", "24h")
MODELS: Final = ("llama-3.1-8b", "qwen3-32b", "llama-3.1-70b", "gpt-oss-120b", "qwen3-30b-a3b")
HARDWARE: Final = (("h100",), ("a100",), ("l40s",), ("a100", "h100"), ("h100", "h200"), ("l40s", "h100", "b200"))
GAPS: Final = (0.05, 0.10)
CENT: Final = 0.005
# Relative difference that rounding may leave between two sums.
ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A load and the arguments that `compare` and `plan` both get."""

    name: str
    trace: Trace
    arguments: dict[str, Any]


def draw_case(seed: int, most_requests: int, folder: Path) -> Case:
    """Draw requests, workloads, promises, a model and its machines; write the workloads file to a folder."""
    rng = np.random.default_rng(seed)
    count = round(10 ** rng.uniform(0, math.log10(most_requests)))
    span_s = float(rng.choice(SPANS_H)) * SECONDS_PER_HOUR
    arrivals = str(rng.choice(ARRIVALS))
    workloads = int(rng.integers(1, MOST_WORKLOADS + 1)) if rng.random() < 0.5 else 1
    requests = pl.DataFrame(
        {
            "time": arrival_times_s(arrivals, count, span_s, rng),
            "input_tokens": _lengths((200, 1200, 4000), count, 6000, rng),
            "output_tokens": _lengths((1, 50, 300), count, 2000, rng),
            "tenant": np.char.add("t", rng.integers(workloads, size=count).astype(str)),
        }
    )
    deadline, share = str(rng.choice(DEADLINES)), float(rng.choice([0.0, 0.1, 0.3, 0.6, 1.0]))
    arguments: dict[str, Any] = {
        "model": str(rng.choice(MODELS)),
        "hardware": HARDWARE[int(rng.integers(len(HARDWARE)))],
    }
    waits = f"{share:.0%} waits {deadline}"
    if workloads > 1:
        path = folder / f"{seed}.toml"
        path.write_text("\n".join(_workload(number, rng) for number in range(workloads)))
        arguments["workloads"] = path
        waits = f"{workloads} workloads"
    elif share:
        arguments["defer"] = (f"{share:.0%}@{deadline}",)
    name = (
        f"{seed}: {count:,} {arrivals}, {format_duration(span_s)}, {arguments['model']}, "
        f"{'+'.join(arguments['hardware'])}, {waits}"
    )
    return Case(name=name, trace=read_trace([requests]), arguments=arguments)


def arrival_times_s(arrivals: str, count: int, span_s: float, rng: np.random.Generator) -> Floats:
    """Draw arrival times of a Poisson process, bursts, a clockwork or a day's cycle, sorted."""
    match arrivals:
        case "clockwork":
            at_s = np.linspace(0, span_s, count, endpoint=False)
        case "bursts":
            centers_s = rng.uniform(0, 0.9 * span_s, max(1, count // 40))
            at_s = rng.choice(centers_s, count) + rng.exponential(20.0, count)
        case "day":
            hours = rng.normal(14, 4, count) + 24 * rng.integers(math.ceil(span_s / SECONDS_PER_DAY), size=count)
            at_s = hours * SECONDS_PER_HOUR * min(1.0, span_s / SECONDS_PER_DAY)
        case _:
            at_s = rng.uniform(0, span_s, count)
    return np.sort(np.clip(at_s, 0, span_s))


def _lengths(medians: tuple[int, ...], count: int, longest: int, rng: np.random.Generator) -> NDArray[np.int64]:
    median = float(rng.choice(medians))
    return np.clip(rng.lognormal(np.log(median), 0.8, count), 1, longest).astype(np.int64)


def _workload(number: int, rng: np.random.Generator) -> str:
    head = f'[[workload]]\nname = "w{number}"\nmatch = {{ tenant = "t{number}" }}\n'
    if rng.random() < 0.5:
        return f'{head}lane = "deferrable"\ndeadline = "{rng.choice(DEADLINES)}"\n'
    ttft_s, attainment = float(rng.choice([1.0, 2.0, 5.0])), float(rng.choice([0.9, 0.95, 0.99]))
    return f'{head}lane = "realtime"\nslo = {{ ttft_s = {ttft_s}, tpot_s = 0.1, attainment = {attainment} }}\n'


def known_usd(case: Case) -> tuple[float | None, dict[str, float]]:
    """Return the cheaper real-time arrangement of `compare`, and every known arrangement that keeps every promise.

    A fleet that keeps the SLO of real time may miss the deadline of a request that may wait, and is left out then.
    """
    options = CompareOptions(**case.arguments)
    arrangements = {row.name: row for row in compare(case.trace, options).arrangements}
    catalog = facts.load(())
    load = assign_workloads(case.trace, options).load(options)
    names = {"realtime_fixed", "realtime_autoscaled", "mix"} | ({"batch"} if load.deferrable.all() else set())
    known = {name: arrangements[name].total_usd for name in names if arrangements[name].feasible}
    realtime = [known[name] for name in known if name.startswith("realtime")]
    search = build_search(catalog, catalog.find_model(options.model), load, options, lambda _: None)
    if load.deferrable.any():
        found = search.run()
        late = [trial for trial in (found.fixed, found.autoscaled) if load.deadlines_missed(trial.result.finished_s)]
        known = {name: usd for name, usd in known.items() if name not in {trial.name for trial in late}}
    for machine in search.machines:
        served = not load.deferrable.all()
        backfill = max_backfill(machine, load) if served else unrestricted_backfill(machine.limits)
        pool = machine.pool(Fixed(instances=1), realtime=served, backfill=backfill if backfill.sequences else None)
        label = f"one {machine.profile.replica.label} machine of {format_count(machine.offer.gpus, 'GPU')}, always on"
        for requests in (load, load.all_realtime()) if served else (load,):
            trial = rejudge(simulate_fleet("one", label, requests, ((machine, pool),)), load, "one", label)
            if trial.feasible:
                known[label] = min(trial.usd, known.get(label, math.inf))
    return min(realtime, default=None), known


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A plan against what is known, and what is wrong with it; None where there is no plan.

    Args:
        name: The load.
        seconds: Time of `compare` and `plan`.
        plan_usd: Cost of the plan.
        bound_usd: Its bound.
        gap: Cost above the bound, as a share of the bound.
        reason: What the plan is, where the gap is large.
        wrong: What is wrong.
    """

    name: str
    seconds: float
    plan_usd: float | None = None
    bound_usd: float | None = None
    gap: float | None = None
    reason: str = ""
    wrong: tuple[str, ...] = ()


def judge(case: Case, folder: Path) -> Judged:
    """Compare and plan a load, and check the plan against the comparison, its bounds and its replay."""
    began = time.perf_counter()
    refused: dict[str, str] = {}
    wrong: list[str] = []
    realtime_usd, known, made = None, dict[str, float](), None
    try:
        realtime_usd, known = known_usd(case)
    except MeritorderError as error:
        refused["compare"] = str(error)
    except Exception:  # noqa: BLE001 - a traceback is what is looked for
        wrong.append(f"traceback of compare: {traceback.format_exc().splitlines()[-1]}")
    try:
        made = plan(case.trace, PlanOptions(**case.arguments))
    except MeritorderError as error:
        refused["plan"] = str(error)
    except Exception:  # noqa: BLE001 - likewise
        wrong.append(f"traceback of plan: {traceback.format_exc().splitlines()[-1]}")
    seconds = time.perf_counter() - began
    if made is None or made.in_hindsight is None:
        if "compare" not in refused and not wrong:
            wrong.append(f"refused by plan only: {refused.get('plan', 'no hindsight')}")
        return Judged(name=case.name, seconds=seconds, reason=refused.get("plan", ""), wrong=tuple(wrong))
    if "compare" in refused:
        wrong.append(f"refused by compare only: {refused['compare']}")
    else:
        wrong += _compared(made.in_hindsight, realtime_usd, known)
    wrong += _replayed(made, case, folder)
    hindsight = made.in_hindsight
    gap = hindsight.total_usd / hindsight.bound_usd - 1 if hindsight.bound_usd > 0 else math.inf
    return Judged(
        name=case.name,
        seconds=seconds,
        plan_usd=hindsight.total_usd,
        bound_usd=hindsight.bound_usd,
        gap=gap,
        reason=_described(made) if gap > GAPS[0] else "",
        wrong=tuple(wrong),
    )


def _compared(hindsight: InHindsight, realtime_usd: float | None, known: dict[str, float]) -> list[str]:
    wrong = []
    if realtime_usd is None or abs(hindsight.baseline_usd - realtime_usd) > CENT:
        wrong.append(f"baseline differs: {hindsight.baseline_usd:.4f} against {realtime_usd}")
    name, usd = min(known.items(), key=lambda item: item[1], default=("none", math.inf))
    if hindsight.total_usd > usd * (1 + ROUNDING):
        wrong.append(f"plan dearer than a known arrangement: {hindsight.total_usd:.4f} against {usd:.4f} of {name}")
    for bound, bound_usd in (("bound", hindsight.bound_usd), ("hard bound", hindsight.hard_bound_usd)):
        if bound_usd > min(usd, hindsight.total_usd) * (1 + ROUNDING):
            wrong.append(
                f"{bound} above an arrangement: {bound_usd:.4f} against {usd:.4f} of {name} "
                f"and {hindsight.total_usd:.4f} of the plan"
            )
    if hindsight.deadlines_missed or not hindsight.kept:
        wrong.append(f"promise broken in hindsight: {hindsight.deadlines_missed:,} deadlines missed")
    return wrong


def _replayed(made: planfile.Plan, case: Case, folder: Path) -> list[str]:
    path = folder / "plan.json"
    planfile.write_plan(made, path)
    try:
        again = replay(planfile.read_plan(path), case.trace)
    except Exception:  # noqa: BLE001 - a traceback is what is looked for
        return [f"traceback of replay: {traceback.format_exc().splitlines()[-1]}"]
    expected = made.policy_outcome if made.policy else made.simulated
    if expected is None:
        return ["the plan has no outcome to replay"]
    different = [
        field
        for field in ("total_usd", "slo_attainment", "deadlines_missed", "kept")
        if not math.isclose(getattr(again, field) or 0.0, getattr(expected, field) or 0.0, rel_tol=1e-6, abs_tol=1e-9)
    ]
    return [f"replay differs: {field} {getattr(again, field)}, not {getattr(expected, field)}" for field in different]


def _described(made: planfile.Plan) -> str:
    """Return what a plan far above its bound runs on, and for how long, which tells why."""
    machines = [
        f"{max(row.machines)} x {row.pool} in {sum(map(bool, row.machines)):,} slots"
        for row in made.schedule
        if any(row.machines)
    ]
    used = made.simulated.utilization if made.simulated else None
    slots = f"of {made.slots:,} slots of {format_duration(made.slot_s)}"
    return f"{' and '.join(machines) or 'no machine'} {slots}, {used or 0:.0%} utilized"


def run(loads: int = LOADS, most_requests: int = MOST_REQUESTS, first: int = 0) -> dict[str, Any]:
    """Judge random loads, print one line each and what is wrong with it, and return the counts."""
    rows: list[Judged] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(first, first + loads):
            row = judge(draw_case(seed, most_requests, folder), folder)
            rows.append(row)
            print(_line(row), *(f"      {text}" for text in row.wrong), sep="\n", flush=True)
    return _counts(rows)


def _line(row: Judged) -> str:
    if row.plan_usd is None or row.bound_usd is None or row.gap is None:
        return f"  no plan ({row.reason})  {row.name}"
    reason = f"; {row.reason}" if row.reason else ""
    return f"{row.plan_usd:11.4f} {row.bound_usd:11.4f} {row.gap:8.1%} {row.seconds:6.1f} s  {row.name}{reason}"


def _counts(rows: Sequence[Judged]) -> dict[str, Any]:
    gaps = np.array([row.gap for row in rows if row.gap is not None])
    wrong = Counter(text.partition(":")[0] for row in rows for text in row.wrong)
    return {
        "loads": len(rows),
        "planned": len(gaps),
        "clean": sum(not row.wrong for row in rows),
        "wrong": dict(wrong.most_common()),
        "median_gap": float(np.median(gaps)) if len(gaps) else None,
        "largest_gap": float(gaps.max()) if len(gaps) else None,
        **{f"share_within_{share:.0%}": float(np.mean(gaps <= share)) if len(gaps) else None for share in GAPS},
        "slowest_s": max(row.seconds for row in rows),
        "rows": [{field.name: getattr(row, field.name) for field in fields(row)} for row in rows],
    }


def main() -> None:
    """Judge as many loads as asked for, and write the counts as JSON if requested."""
    parser = argparse.ArgumentParser(prog="python -m bench.random_loads", description=__doc__)
    parser.add_argument("--loads", type=int, default=LOADS, help="how many loads")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first load; the others follow")
    parser.add_argument("--most-requests", type=int, default=MOST_REQUESTS, help="requests of the largest load")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts and rows as JSON")
    options = parser.parse_args()
    files.check_target(options.json)
    counts = run(options.loads, options.most_requests, options.seed)
    if options.json:
        files.write_bytes(options.json, msgspec.json.format(msgspec.json.encode(counts)))
    for figure, value in counts.items():
        if figure != "rows":
            print(f"  {figure:<40} {value}")


if __name__ == "__main__":
    main()
