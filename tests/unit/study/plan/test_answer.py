"""A plan for a trace: it keeps its promises when it is carried out, and its numbers add up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.unit.study.plan.conftest import OPTIONS, requests

from meritorder import planfile, traces
from meritorder.domain import Slo
from meritorder.errors import ConfigError, InfeasibleError
from meritorder.study.plan.answer import plan
from meritorder.study.plan.options import terms_of, tiers_of
from meritorder.traces import Trace


def test_a_plan_was_simulated_and_keeps_every_promise(made: planfile.Plan, day: Trace) -> None:
    simulated = made.simulated
    assert simulated is not None
    assert simulated.kept
    assert simulated.deadlines_missed == 0
    assert simulated.slo_attainment is not None
    assert simulated.slo_attainment >= 0.99
    assert simulated.requests == day.requests.height
    assert "every promise kept" in made.sentence


def test_no_plan_is_cheaper_than_its_bounds(made: planfile.Plan) -> None:
    assert 0 < made.hard_bound_usd <= made.bound_usd <= made.total_usd
    assert made.first_bound_usd is not None
    assert made.first_bound_usd <= made.bound_usd
    assert made.gap == pytest.approx(made.total_usd / made.bound_usd - 1)
    assert made.gap < 0.25  # a fleet of a few machines


def test_its_dollars_add_up(made: planfile.Plan) -> None:
    simulated = made.simulated
    assert simulated is not None
    assert made.baseline_usd is not None
    assert made.total_usd == simulated.total_usd
    assert sum(made.by_pricing_model.values()) == pytest.approx(made.total_usd)
    assert sum(simulated.usd_by_pool.values()) == pytest.approx(made.total_usd)
    assert made.baseline_usd + sum(part.usd for part in made.waterfall) == pytest.approx(made.total_usd)
    assert made.saving_usd == pytest.approx(made.baseline_usd - made.total_usd)
    assert made.saving_usd is not None
    assert made.saving_usd > 0
    assert made.saving_share == pytest.approx(made.saving_usd / made.baseline_usd)


def test_what_it_pays_for_is_there_when_it_works(made: planfile.Plan) -> None:
    dispatch = made.dispatch
    assert dispatch is not None
    paid = [sum(each) for each in zip(*dispatch.paid_gpus.values(), strict=True)]
    work = [sum(each) for each in zip(dispatch.realtime_gpus, dispatch.deferrable_gpus, strict=True)]
    assert all(there >= busy - 1e-6 for there, busy in zip(paid, work, strict=True))
    assert sum(dispatch.deferrable_gpus) == pytest.approx(sum(dispatch.arrived_gpus), rel=1e-6)
    assert all(0 < step.used_share <= 1 for step in made.merit_order)
    prices = [step.usd_per_mtok for step in made.merit_order]
    assert prices == sorted(prices)


def test_patience_is_told_as_it_was_promised(made: planfile.Plan) -> None:
    waits = next(one for one in made.workloads if one.lane == "deferrable")
    assert waits.patience_s == pytest.approx(3600)
    assert waits.deferral_saves_usd is not None
    assert waits.deferral_saves_usd >= -1e-6


def test_where_nothing_may_wait_it_says_so(day: Trace) -> None:
    strict = plan(day, replace(OPTIONS, defer=()))
    assert any("nothing is marked as able to wait" in text for text in strict.warnings)
    assert all(one.lane == "realtime" for one in strict.workloads)


def test_a_burst_within_a_slot_gets_more_machines_than_the_slot_asks_for_in_the_mean(tmp_path: Path) -> None:
    spike = pl.DataFrame({"time": np.linspace(1800, 1820, 4000), "input_tokens": 500, "output_tokens": 150})
    columns = [pl.col("input_tokens").cast(pl.Int64), pl.col("output_tokens").cast(pl.Int64)]
    both = [frame.with_columns(columns) for frame in (requests(2.0, hours=1), spike)]
    pl.concat(both).sort("time").write_parquet(tmp_path / "spike.parquet")
    made = plan(traces.read([tmp_path / "spike.parquet"]), OPTIONS)
    assert made.simulated is not None
    assert made.simulated.kept
    # Of 7,000 requests one in a hundred may be late; the spike alone is 200 a second.
    assert max(max(one.machines) for one in made.schedule) > 4


def test_machines_that_are_held_are_used_first_and_cost_nothing_more(
    day: Trace, made: planfile.Plan, tmp_path: Path
) -> None:
    machine = next(one for one in made.pools if one.hardware == "l40s")
    provider, instance = machine.machine.split(" ", 1)
    path = tmp_path / "have.toml"
    path.write_text(f'[[machines]]\nprovider = "{provider}"\ninstance = "{instance}"\nmachines = 2\n')
    held = plan(day, replace(OPTIONS, have=path))
    assert held.total_usd < made.total_usd
    owned = next(one for one in held.commitments if one.pricing_model == "owned")
    assert (owned.have, owned.amount, owned.usd) == (2, 0, 0)
    assert any(one.pricing_model == "owned" and max(one.machines) == 2 for one in held.schedule)


def test_a_file_of_what_is_held_is_read_strictly(day: Trace, tmp_path: Path) -> None:
    path = tmp_path / "have.toml"
    for text, message in (
        ("[[machines]]\nprovider = 'aws'\ninstance = 'nothing'\nmachines = 1\n", "the catalog has no machine"),
        ("[[machines]]\nprovider = 'aws'\ninstance = 'x'\nmachines = 0\n", "0 machines"),
        ("[[machine]]\n", "unknown field"),
        ("nonsense", "is not TOML"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            plan(day, replace(OPTIONS, have=path))


def test_a_promise_that_no_replica_keeps_is_refused_before_planning(day: Trace) -> None:
    with pytest.raises(InfeasibleError, match="no replica can meet the SLO"):
        plan(day, replace(OPTIONS, slo=Slo(ttft_s=0.001, tpot_s=0.0001)))


def test_too_few_machines_are_told_with_what_would_help(day: Trace) -> None:
    with pytest.raises(InfeasibleError, match="not enough capacity for its real-time work"):
        plan(day, replace(OPTIONS, machines=1, defer=()))


def test_tokens_are_bought_where_they_are_cheaper_and_allowed(day: Trace, made: planfile.Plan) -> None:
    bought = plan(day, replace(OPTIONS, tiers=("standard",)))
    assert bought.simulated is not None
    if not made.tokens_usd or made.tokens_usd["standard"] >= made.total_usd:
        pytest.skip("today's prices make tokens dearer")
    assert bought.simulated.tokens_usd > 0
    assert bought.by_pricing_model["tokens"] == pytest.approx(bought.simulated.tokens_usd)
    assert bought.simulated.requests == made.simulated.requests  # type: ignore[union-attr]


def test_terms_and_tiers_are_read_strictly() -> None:
    assert terms_of("3y") == ("1y", "3y")
    assert terms_of("none") == ()
    assert tiers_of(("batch",)) == ("batch",)
    with pytest.raises(ConfigError, match="unknown term"):
        terms_of("2y")
    with pytest.raises(ConfigError, match="unknown tier"):
        tiers_of(("cheap",))
