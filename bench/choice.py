"""More choice against less, on small random loads: nothing may become more expensive, in `compare` or in `plan`."""

import argparse
import math
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from bench.random_loads import ARRIVALS, MODELS, arrival_times_s
from meritorder.errors import InfeasibleError
from meritorder.planner.solve.highs import Effort
from meritorder.study.compare.compare import CompareOptions, compare
from meritorder.study.plan.answer import plan
from meritorder.study.schedule.options import PlanOptions
from meritorder.traces import Trace
from meritorder.traces.read import read_trace
from meritorder.traces.trace import rebased
from meritorder.units import SECONDS_PER_HOUR

LOADS: Final = 40
MOST_REQUESTS: Final = 400
SPANS_H: Final = (0.2, 1, 4, 12)
HARDWARE: Final = ("l40s", "a100", "h100", "h200")
PROVIDERS: Final = ("runpod", "aws", "lambda", "gcp")
PATIENCE: Final = ("5m", "30m", "1h", "4h", "12h")
FLEETS: Final = ("realtime_fixed", "realtime_autoscaled", "batch", "mix")
REALTIME: Final = 'lane = "realtime"\nslo = { ttft_s = 2.0, tpot_s = 0.1, attainment = 0.95 }\n'
EFFORT: Final = Effort(time_limit_s=2.0)
ROUNDING: Final = 1e-9

Costs = dict[str, float]
Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Requests, and arguments of which the second permit whatever the first do."""

    kind: str
    trace: Trace
    less: Arguments
    more: Arguments


def draw_trace(rng: np.random.Generator, models: tuple[str, ...]) -> Trace:
    """Draw requests of three tenants and of some models."""
    count = round(10 ** rng.uniform(0.5, math.log10(MOST_REQUESTS)))
    span_s = float(rng.choice(SPANS_H)) * SECONDS_PER_HOUR
    requests = pl.DataFrame(
        {
            "time": arrival_times_s(str(rng.choice(ARRIVALS)), count, span_s, rng),
            "input_tokens": rng.integers(20, 4000, count),
            "output_tokens": rng.integers(1, 600, count),
            "tenant": rng.choice(["t0", "t1", "t2"], count),
            "model": rng.choice(models, count),
        }
    ).sort("time")
    return read_trace([requests])


def draw_choices(seed: int, folder: Path) -> Iterator[Choice]:
    """Draw a load, and each kind of choice that it may be given more or less of."""
    rng = np.random.default_rng(seed)
    models = tuple(rng.choice(MODELS, 2, replace=False).tolist())
    hardware = tuple(rng.choice(HARDWARE, 2, replace=False).tolist())
    first, second = sorted(rng.choice(len(PATIENCE), 2, replace=False).tolist())
    short, long = PATIENCE[first], PATIENCE[second]
    denied, kept = (str(name) for name in rng.choice(PROVIDERS, 2, replace=False))
    trace = draw_trace(rng, models[:1])

    waiting = set(rng.choice(3, int(rng.integers(4)), replace=False).tolist())

    def workloads(name: str, deadline: str, *denying: int) -> Arguments:
        path = folder / f"{seed}-{name}.toml"
        rows = []
        for number in range(3):
            row = f'[[workload]]\nname = "w{number}"\nmatch = {{ tenant = "t{number}" }}\n'
            row += f'lane = "deferrable"\ndeadline = "{deadline}"\n' if number in waiting else REALTIME
            rows.append(row + (f'deny = {{ provider = "{denied}" }}\n' if number in denying else ""))
        path.write_text("\n".join(rows))
        return {"workloads": path}

    base = {"model": models[0], "hardware": hardware} | workloads("free", long)
    yield Choice(kind="hardware", trace=trace, less=base | {"hardware": hardware[:1]}, more=base)
    few, many = ({"providers": names} for names in ((denied, kept), PROVIDERS))
    yield Choice(kind="providers", trace=trace, less=base | few, more=base | many)
    one, two, all_three = (base | workloads(str(count), long, *range(count)) for count in (1, 2, 3))
    yield Choice(kind="none denies", trace=trace, less=one, more=base)
    yield Choice(kind="one of two denies", trace=trace, less=two, more=one)
    yield Choice(kind="two of three deny", trace=trace, less=all_three, more=two)
    yield Choice(kind="patience", trace=trace, less=base | workloads("short", short), more=base)
    share = {"model": models[0], "hardware": hardware}
    patient, hasty = (share | {"defer": (f"50%@{deadline}",)} for deadline in (long, short))
    yield Choice(kind="patience of a share", trace=trace, less=hasty, more=patient)
    yield Choice(kind="spot", trace=trace, less=base, more=base | {"spot": True})
    yield Choice(kind="tiers", trace=trace, less=base, more=base | {"tiers": ("batch", "flex")})
    both = draw_trace(rng, models)
    yield Choice(kind="models", trace=both, less={}, more=base | {"model": ""})


class Judge:
    """Costs of plans and arrangements, each computed once."""

    def __init__(self) -> None:
        """Begin with no costs."""
        self._known: dict[str, Costs] = {}

    def costs(self, trace: Trace, arguments: Arguments) -> Costs:
        """Return dollars by arrangement and of the plan; infinity where there is none that keeps every promise."""
        key = f"{id(trace)} {sorted(arguments.items())}"
        if key not in self._known:
            self._known[key] = _compared(trace, arguments) | {"plan": _planned(trace, arguments)}
        return self._known[key]

    def more_expensive(self, choice: Choice) -> list[str]:
        """Return what becomes more expensive by more choice."""
        if choice.kind == "models":
            return _separately(choice.trace, choice.more)
        less, more = self.costs(choice.trace, choice.less), self.costs(choice.trace, choice.more)
        return [_worse(name, less[name], more[name]) for name in less if more[name] > less[name] * (1 + ROUNDING)]


def _separately(trace: Trace, arguments: Arguments) -> list[str]:
    sums = 0.0
    for model in trace.models:
        kept = trace.requests.filter(pl.col("model").cast(pl.String) == model)
        sums += _planned(rebased(replace(trace, requests=kept)), arguments)
    usd = _planned(trace, arguments)
    return [_worse("plan", sums, usd)] if usd > sums * (1 + ROUNDING) else []


def _worse(name: str, less: float, more: float) -> str:
    return f"{name} {less:.6f} -> {more:.6f} ({more / less - 1:.1%})"


def _compared(trace: Trace, arguments: Arguments) -> Costs:
    options = {name: value for name, value in arguments.items() if name != "tiers"}
    try:
        rows = compare(trace, CompareOptions(**options)).arrangements
    except InfeasibleError:
        return dict.fromkeys(FLEETS, math.inf)
    return {row.name: row.total_usd if row.feasible else math.inf for row in rows if row.name in FLEETS}


def _planned(trace: Trace, arguments: Arguments) -> float:
    try:
        made = plan(trace, PlanOptions(**arguments, effort=EFFORT))
    except InfeasibleError:
        return math.inf
    return made.total_usd if made.simulated is None or made.simulated.kept else math.inf


def run(loads: int = LOADS, first: int = 0, kinds: Collection[str] = ()) -> dict[str, Any]:
    """Judge random loads, print what more choice makes more expensive, and return the counts."""
    wrong: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for seed in range(first, first + loads):
        judge = Judge()
        with tempfile.TemporaryDirectory() as name:
            for choice in draw_choices(seed, Path(name)):
                if kinds and choice.kind not in kinds:
                    continue
                tried[choice.kind] += 1
                worse = judge.more_expensive(choice)
                wrong[choice.kind] += bool(worse)
                for text in worse:
                    print(f"  {seed}: {choice.trace.requests.height:,} requests, {choice.kind}: {text}", flush=True)
    return {"tried": dict(tried), "wrong": dict(wrong)}


def main() -> None:
    """Judge as many loads as asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.choice", description=__doc__)
    parser.add_argument("--loads", type=int, default=LOADS, help="how many loads")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first load; the others follow")
    parser.add_argument("--kind", action="append", help="only this kind of choice")
    options = parser.parse_args()
    counts = run(options.loads, options.seed, options.kind or ())
    for kind, count in counts["tried"].items():
        print(f"  {kind:<24} {counts['wrong'][kind]:>3} wrong in {count}")


if __name__ == "__main__":
    main()
