"""What holds for every comparison, whatever the traffic: money adds up, promises said to be kept are kept."""

import datetime as dt
from dataclasses import replace
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.samples.fleets import load, machine, offer, profile

from meritorder.domain import Slo
from meritorder.errors import InfeasibleError
from meritorder.records.comparison import Arrangement, Comparison
from meritorder.study.compare.compare import CompareOptions, compare
from meritorder.study.fleet.fleets import Trial, batch_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.result import SearchResult
from meritorder.study.fleet.search import Search
from meritorder.tables import REQUESTS, check
from meritorder.traces import ReadReport, Trace

CENT = 0.005
MANY = 30
few = settings(deadline=None, max_examples=MANY, suppress_health_check=[HealthCheck.too_slow])


class Traffic(NamedTuple):
    """Requests that trickle in, and a burst of them; drawn small, so that a counterexample reads well."""

    seed: int
    span_s: float
    steady: int
    burst: int

    def arrived_s(self) -> np.ndarray:
        random = np.random.default_rng(self.seed)
        steady = random.uniform(0, self.span_s, self.steady)
        burst = random.uniform(0, self.span_s) + random.uniform(0, 5, self.burst)
        return np.sort(np.concatenate([steady, burst]))


traffics = st.builds(
    Traffic,
    seed=st.integers(0, 10**6),
    span_s=st.sampled_from([30.0, 900.0, 7200.0]),
    steady=st.integers(2, 1500),
    burst=st.sampled_from([0, 50, 600]),
)


class Asked(NamedTuple):
    """Traffic, its lengths, and what it was promised."""

    traffic: Traffic
    longest_prompt: int
    longest_answer: int
    waits: float
    patience_s: float
    ttft_s: float
    tpot_s: float

    def load(self) -> TraceLoad:
        arrived_s = self.traffic.arrived_s()
        random = np.random.default_rng(self.traffic.seed + 1)
        return load(
            arrived_s,
            random.integers(1, self.longest_prompt, len(arrived_s)),
            random.integers(1, self.longest_answer, len(arrived_s)),
            waits=random.random(len(arrived_s)) < self.waits,
            patience_s=self.patience_s,
            slo=Slo(ttft_s=self.ttft_s, tpot_s=self.tpot_s, attainment=0.95),
        )


questions = st.builds(
    Asked,
    traffic=traffics,
    longest_prompt=st.sampled_from([50, 2000]),
    longest_answer=st.sampled_from([2, 300]),
    waits=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    patience_s=st.sampled_from([900.0, 4 * 3600.0]),
    ttft_s=st.sampled_from([1.0, 5.0]),
    tpot_s=st.sampled_from([0.03, 0.2]),
)


def search(asked: TraceLoad, machines: list[CandidateMachine]) -> SearchResult:
    ordered = sorted(machines, key=lambda each: each.price_work(asked))
    return Search(
        load=asked, machines=ordered, batch_machines=ordered, patience_s=7200.0, progress=lambda _: None
    ).run()


def found(asked: TraceLoad, machines: list[CandidateMachine]) -> SearchResult | None:
    """Search; None where the promise is beyond the hardware."""
    try:
        return search(asked, machines)
    except InfeasibleError:
        return None


def late(trial: Trial) -> int:
    waits = np.isfinite(trial.load.deadline_s)
    return int((~(trial.result.finished_s <= trial.load.deadline_s) & waits).sum())


@few
@given(question=questions)
def test_promises_agree_with_simulated_timings(question: Asked) -> None:
    asked = question.load()
    answer = found(asked, [machine(asked)])
    if answer is None:
        return
    for trial in (answer.fixed, answer.autoscaled, answer.batch, answer.mix):
        assert trial.deadlines_missed == late(trial), trial.label
        realtime = ~np.isfinite(trial.load.deadline_s)
        if not trial.feasible or not realtime.any():
            continue
        later = np.maximum(trial.load.output_tokens - 1, 1)
        tpot_s = (trial.result.finished_s - trial.result.first_token_s) / later
        in_time = (trial.ttft_s <= trial.load.ttft_limit_s) & (tpot_s <= trial.load.tpot_limit_s + 1e-12)
        assert in_time[realtime].mean() >= 0.95, trial.label
        assert np.isfinite(trial.result.finished_s).all()


@few
@given(question=questions)
# A burst of what may wait: apart, real time is cheap and short, and batch runs long after it.
@example(question=Asked(Traffic(0, 30.0, 2, 600), 50, 300, 0.8, 900.0, 1.0, 0.03))
def test_mix_costs_no_more_than_baseline(question: Asked) -> None:
    asked = question.load()
    one = machine(asked)
    answer = found(asked, [one])
    if answer is None:
        return
    mix_usd, baseline_usd = answer.mix.usd, answer.baseline.usd
    assert mix_usd <= baseline_usd + CENT
    if answer.realtime_alone is None or not asked.deferrable.any():
        return
    apart = batch_fleet(one, asked.select(asked.deferrable))
    if apart.feasible:
        apart_usd = answer.realtime_alone.usd + apart.usd
        assert mix_usd <= apart_usd + CENT


@few
@given(question=questions, usd_per_hour=st.sampled_from([1.0, 2.1, 3.0, 9.0]))
def test_more_hardware_never_raises_a_cost(question: Asked, usd_per_hour: float) -> None:
    asked = question.load()
    first = machine(asked)
    second = machine(
        asked,
        replica=profile(2, hardware="h200", faster=2.5),
        box=offer(2, usd_per_hour=usd_per_hour, hardware="h200", instance="pair"),
    )
    alone = found(asked, [first])
    both = found(asked, [first, second])
    if alone is not None:
        assert both is not None
        assert both.fixed.usd <= alone.fixed.usd + 1e-9
        for on_both, on_one in ((both.baseline, alone.baseline), (both.batch, alone.batch), (both.mix, alone.mix)):
            assert on_both.usd <= on_one.usd + 1e-9 or not on_one.feasible


@few
@given(question=questions, factor=st.floats(1.01, 2.0))
def test_slower_steps_never_cut_realtime_cost(question: Asked, factor: float) -> None:
    asked = question.load()
    as_it_is = found(asked, [machine(asked)])
    slower = found(asked, [machine(asked, replica=profile(faster=1 / factor))])
    if slower is not None:
        assert as_it_is is not None
        slower_usd, usd = slower.fixed.usd, as_it_is.fixed.usd
        assert slower_usd >= usd - CENT


def trace_of(arrived_s: np.ndarray, seed: int) -> Trace:
    random = np.random.default_rng(seed)
    count = len(arrived_s)
    columns = {
        "arrived_s": arrived_s - arrived_s[0],
        "input_tokens": random.integers(10, 4000, count).astype(np.int32),
        "cached_tokens": np.zeros(count, np.int32),
        "output_tokens": random.integers(1, 400, count).astype(np.int32),
    }
    frame = pl.DataFrame(columns).with_columns(
        **{column.name: pl.lit(None, column.dtype) for column in REQUESTS if column.name not in columns}
    )
    requests = check(frame.select([column.name for column in REQUESTS]), REQUESTS, what="drawn")
    epoch_s = dt.datetime(2026, 1, 5, tzinfo=dt.UTC).timestamp()
    return Trace(requests=requests, epoch_s=epoch_s, report=ReadReport(files=("drawn",), format="drawn", rows=count))


def of_name(answer: Comparison, name: str) -> Arrangement:
    return next(arrangement for arrangement in answer.arrangements if arrangement.name == name)


@few
@given(
    traffic=traffics,
    seed=st.integers(0, 99),
    defer=st.sampled_from([(), ("40%@4h",), ("30%@30m", "20%@06:00"), ("100%@1h",)]),
    hardware=st.sampled_from([("h100",), ("h100", "l40s")]),
)
def test_answer_adds_up(traffic: Traffic, seed: int, defer: tuple[str, ...], hardware: tuple[str, ...]) -> None:
    arrived_s = traffic.arrived_s()
    options = CompareOptions(model="llama-3.1-8b", hardware=hardware, defer=defer, tp=1, seed=seed)
    answer = compare(trace_of(arrived_s, seed), options)
    baseline = of_name(answer, answer.baseline)
    assert {arrangement.name for arrangement in answer.arrangements} >= {
        "realtime_fixed",
        "realtime_autoscaled",
        "batch",
        "mix",
    }
    for waterfall in answer.waterfall:
        assert waterfall.from_usd == pytest.approx(of_name(answer, waterfall.start).total_usd, abs=CENT)
        assert waterfall.to_usd == pytest.approx(of_name(answer, waterfall.end).total_usd, abs=CENT)
        parts_usd = sum(part.usd for part in waterfall.parts)
        assert waterfall.from_usd + parts_usd == pytest.approx(waterfall.to_usd, abs=CENT)
    requests, tokens = len(arrived_s), answer.trace.input_tokens + answer.trace.output_tokens
    for arrangement in answer.arrangements:
        assert arrangement.usd_per_request * requests == pytest.approx(arrangement.total_usd)
        assert arrangement.usd_per_mtok * tokens / 1e6 == pytest.approx(arrangement.total_usd)
        if arrangement.paid_time is None:
            continue
        paid = arrangement.paid_time
        assert sum(msgspec.structs.astuple(paid)) == pytest.approx((arrangement.replica_hours or 0) * 3600, rel=1e-9)
        assert min(msgspec.structs.astuple(paid)) > -1e-6
        assert sum(lane.total_usd for lane in arrangement.lanes) == pytest.approx(arrangement.total_usd, abs=CENT)
        assert sum(lane.requests for lane in arrangement.lanes) == requests
        assert 0 <= (arrangement.busy or 0) <= 1
        assert arrangement.timeline is not None
        assert (
            sum(arrangement.timeline.capacity) * arrangement.timeline.bin_s
            <= (arrangement.replica_hours or 0) * 3600 * 1.001 + 1
        )
    assert answer.saving_usd == pytest.approx(baseline.total_usd - of_name(answer, "mix").total_usd)
    assert answer.saving_usd > -CENT
    assert answer.saving_share == pytest.approx(answer.saving_usd / baseline.total_usd)
    assert baseline.feasible
    assert (baseline.slo_attainment or 0) >= 0.99
    assert baseline.total_usd == min(
        arrangement.total_usd
        for arrangement in answer.arrangements
        if arrangement.name.startswith("realtime") and arrangement.feasible
    )


def test_comparison_is_deterministic_by_seed() -> None:
    arrived_s = np.sort(np.random.default_rng(1).uniform(0, 1800, 2000))
    options = CompareOptions(model="llama-3.1-8b", defer=("40%@4h",), tp=1, seed=3)
    first, again = (compare(trace_of(arrived_s, 0), options) for _ in range(2))
    assert first == again
    other = compare(trace_of(arrived_s, 0), replace(options, seed=4))
    assert other.trace == first.trace
